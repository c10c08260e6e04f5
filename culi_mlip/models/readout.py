"""Edge readouts that replace Allegro's own: a further MLP, or the quantum-classical hybrid.

Both act on the invariant features that Allegro leaves on each edge and give the edge's
energy. That energy must vanish, with its slope, where the edge reaches the cutoff.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from e3nn.o3._irreps import Irreps  # e3nn.o3 imports sympy, which packages may not hold
from nequip.data import AtomicDataDict
from nequip.nn import GraphModuleMixin
from nequip.nn.mlp import ScalarLinearLayer

from culi_mlip.errors import ModelError
from culi_mlip.quantum import Circuit, QDILayer


def mlp(widths: Sequence[int]) -> torch.nn.Sequential:
    """Return a bias-free MLP with SiLU between its linear layers.

    Weights are scaled as nequip scales them: unit variance in gives unit variance out.
    Without biases the MLP maps zero to zero.

    Parameters
    ----------
    widths
        Widths of input, hidden layers and output, at least two.

    Raises
    ------
    ModelError
        If a width is less than 1.
    """
    if min(widths) < 1:
        raise ModelError(
            f"an MLP of widths {', '.join(map(str, widths))}: give at least 1 for each"
        )
    layers: list[torch.nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        if i > 0:
            layers.append(torch.nn.SiLU())
        gain = 1.0 if i == 0 else math.sqrt(2)
        layers.append(ScalarLinearLayer(n_in, n_out, alpha=gain / math.sqrt(n_in)))
    return torch.nn.Sequential(*layers)


class _EdgeReadout(GraphModuleMixin, torch.nn.Module):
    """Reads scalar edge features, writes edge energies."""

    irreps_in: dict[str, Any]

    def __init__(self, irreps_in: dict[str, Any], needs: Sequence[str] = ()) -> None:
        super().__init__()
        GraphModuleMixin._init_irreps(
            self,
            irreps_in=irreps_in,
            required_irreps_in=[AtomicDataDict.EDGE_FEATURES_KEY, *needs],
            irreps_out={AtomicDataDict.EDGE_ENERGY_KEY: Irreps("0e")},
        )
        self.n_scalars = self.irreps_in[AtomicDataDict.EDGE_FEATURES_KEY].num_irreps


class MLPReadout(_EdgeReadout):
    """Allegro's readout to a few features, then a further MLP to the edge energy.

    Parameters
    ----------
    n_features
        Features between the two MLPs.
    readout_width
        Hidden width of Allegro's readout MLP.
    further_widths
        Hidden widths of the further MLP.
    irreps_in
        Fields at the input, from the module before.
    """

    def __init__(
        self,
        n_features: int,
        readout_width: int,
        further_widths: Sequence[int],
        irreps_in: dict[str, Any],
    ) -> None:
        super().__init__(irreps_in)
        self.readout = mlp([self.n_scalars, readout_width, n_features])
        self.further = mlp([n_features, *further_widths, 1])

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Add the edge energies, shape (edges, 1), to `data`."""
        features = self.readout(data[AtomicDataDict.EDGE_FEATURES_KEY])
        data[AtomicDataDict.EDGE_ENERGY_KEY] = self.further(features)
        return data


HybridLayer = Literal["circuit", "frozen", "mlp", "identity"]


def hybrid_layer(kind: HybridLayer, circuit: Circuit) -> torch.nn.Module:
    """Return the circuit as a layer, or one of its null controls.

    Parameters
    ----------
    kind
        "circuit"; "frozen", the circuit with its random weights never trained; "mlp", a
        bias-free MLP with one hidden layer and, as nearly as it goes, as many weights; or
        "identity".
    circuit
        The circuit.

    Raises
    ------
    ModelError
        If the kind is unknown.
    """
    if kind == "mlp":
        width = round(circuit.n_weights / (circuit.n_features + circuit.n_qubits))
        return mlp([circuit.n_features, max(1, width), circuit.n_qubits])
    if kind == "identity":
        return torch.nn.Identity()
    if kind not in ("circuit", "frozen"):
        raise ModelError(f"hybrid layer '{kind}': choose one of {', '.join(get_args(HybridLayer))}")
    layer = QDILayer(circuit)
    return layer.requires_grad_(kind == "circuit")


class QDIReadout(_EdgeReadout):
    """Allegro's readout to a few angles, the QDI circuit, a fully connected layer, an MLP.

    The readout's outputs, of unit variance at the start, are multiplied by π and enter the
    circuit as angles in radians: an output of 1 is half a turn, so features spread over the
    whole range that the periodic circuit can tell apart. The circuit maps zero angles to nonzero
    expectation values, which are subtracted: an edge without features has no energy, as in plain
    Allegro. The difference leaves rounding errors, so the edge energy is multiplied by the
    cutoff envelope as well: it vanishes exactly at the cutoff, in any precision.

    Parameters
    ----------
    circuit
        The quantum circuit.
    layer
        The circuit, or one of its null controls; see `hybrid_layer`.
    readout_width
        Hidden width of Allegro's readout MLP, which gives the circuit's features.
    output_width
        Width of the fully connected layer, and hidden width of the output MLP.
    irreps_in
        Fields at the input, from the module before.
    """

    def __init__(
        self,
        circuit: Circuit,
        layer: HybridLayer,
        readout_width: int,
        output_width: int,
        irreps_in: dict[str, Any],
    ) -> None:
        super().__init__(irreps_in, needs=[AtomicDataDict.EDGE_CUTOFF_KEY])
        self.readout = mlp([self.n_scalars, readout_width, circuit.n_features])
        self.quantum = hybrid_layer(layer, circuit)
        n_values = circuit.n_features if layer == "identity" else circuit.n_qubits
        self.output = mlp([n_values, output_width, output_width, 1])

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Add the edge energies, shape (edges, 1), to `data`."""
        angles = math.pi * self.readout(data[AtomicDataDict.EDGE_FEATURES_KEY])
        # Null controls without a circuit vanish at zero as they are.
        change_from_zero = getattr(self.quantum, "change_from_zero", self.quantum)
        energy = self.output(change_from_zero(angles))
        data[AtomicDataDict.EDGE_ENERGY_KEY] = energy * data[AtomicDataDict.EDGE_CUTOFF_KEY]
        return data
