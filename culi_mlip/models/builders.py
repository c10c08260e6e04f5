"""nequip model builders of the three variants; each is a ``_target_`` of a nequip configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import allegro.model
from nequip.data import AtomicDataDict
from nequip.model import model_builder
from nequip.nn import ForceStressOutput, GraphModuleMixin, SequentialGraphNetwork
from nequip.nn.embedding import AddRadialCutoffToData, PolynomialCutoff

from culi_mlip.models.readout import HybridLayer, MLPReadout, QDIReadout
from culi_mlip.models.settings import FORMER
from culi_mlip.quantum import Circuit

AllegroModel = allegro.model.AllegroModel
"""Plain Allegro, as nequip-allegro builds it."""


@model_builder
def AllegroMLPModel(  # noqa: N802 (nequip's builders are named as classes)
    *,
    readout_features: int = 16,
    further_mlp_widths: Sequence[int] = (16, 16),
    readout_mlp_hidden_layers_width: int = 32,
    **allegro_options: Any,
) -> GraphModuleMixin:
    """Allegro with a further MLP between its readout and the edge energy.

    Parameters
    ----------
    readout_features
        Features that the readout hands to the further MLP.
    further_mlp_widths
        Hidden widths of the further MLP; the paper uses two hidden layers.
    readout_mlp_hidden_layers_width
        Hidden width of Allegro's readout MLP.
    **allegro_options
        All other options of ``allegro.model.AllegroModel``.

    References
    ----------
    Laskaris et al., Comput. Mater. Sci. (2026), section 3.4.
    """

    def readout(irreps: dict[str, Any]) -> GraphModuleMixin:
        return MLPReadout(
            readout_features, readout_mlp_hidden_layers_width, further_mlp_widths, irreps
        )

    return _allegro_with_readout(readout, allegro_options)


@model_builder
def AllegroQDIModel(  # noqa: N802
    *,
    circuit: Mapping[str, Any] | Circuit | None = None,
    hybrid_layer: HybridLayer = "circuit",
    output_mlp_width: int = 16,
    readout_mlp_hidden_layers_width: int = 32,
    **allegro_options: Any,
) -> GraphModuleMixin:
    """Allegro with a quantum depth-infused (QDI) layer between readout and edge energy.

    Parameters
    ----------
    circuit
        The circuit, or its fields by name; the readout's features enter it as angles.
    hybrid_layer
        "circuit", or a null control in its place: "frozen" (random weights, never trained),
        "mlp" (as many weights) or "identity".
    output_mlp_width
        Width of the fully connected layer after the circuit and of the output MLP.
    readout_mlp_hidden_layers_width
        Hidden width of Allegro's readout MLP.
    **allegro_options
        All other options of ``allegro.model.AllegroModel``; in older checkpoints also the
        circuit's fields, by their former names.

    References
    ----------
    Laskaris et al., Comput. Mater. Sci. (2026), sections 2.3 and 3.4.
    """
    former = {FORMER[n]: allegro_options.pop(n) for n in [*allegro_options] if n in FORMER}
    given = asdict(circuit) if isinstance(circuit, Circuit) else circuit or {}
    chosen = Circuit(**former, **given)

    def readout(irreps: dict[str, Any]) -> GraphModuleMixin:
        return QDIReadout(
            chosen, hybrid_layer, readout_mlp_hidden_layers_width, output_mlp_width, irreps
        )

    return _allegro_with_readout(readout, allegro_options)


def _allegro_with_readout(
    readout: Callable[[dict[str, Any]], GraphModuleMixin], allegro_options: dict[str, Any]
) -> ForceStressOutput:
    """Build Allegro and put another module in the place of its ``edge_readout``."""
    plain = allegro.model.AllegroModel(**allegro_options)
    modules = dict(plain.func.named_children())
    irreps = modules["allegro"].irreps_out
    if AtomicDataDict.EDGE_CUTOFF_KEY not in irreps:  # radial embeddings other than Bessel
        cutoff = AddRadialCutoffToData(cutoff=PolynomialCutoff(6), irreps_in=irreps)
        irreps = cutoff.irreps_out
        modules = _insert_before(modules, "edge_readout", "cutoff", cutoff)
    modules["edge_readout"] = readout(irreps)
    return ForceStressOutput(SequentialGraphNetwork(modules), plain.do_derivatives)


def _insert_before(modules: dict[str, Any], place: str, name: str, module: Any) -> dict[str, Any]:
    items = [(key, value) for key, value in modules.items() if key != name]
    at = next(i for i, (key, _) in enumerate(items) if key == place)
    return dict([*items[:at], (name, module), *items[at:]])
