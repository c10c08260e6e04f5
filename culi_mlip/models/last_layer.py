"""The features in front of a model's last linear layer, as an output, for uncertainties."""

from __future__ import annotations

from typing import Any, Final

import torch
from e3nn.o3._irreps import Irreps
from nequip.data import AtomicDataDict
from nequip.nn import GraphModuleMixin, scatter

from culi_mlip.errors import ModelError

FEATURES_KEY: Final = "last_layer_features"
"""Field of the features, summed over each atom's edges: shape (atoms, width)."""


def with_last_layer_features(model: Any) -> Any:
    """Let a model give the features in front of its last linear layer.

    The energy of an atom is a linear function of them, but for a constant of its element.

    Parameters
    ----------
    model
        A nequip model, which is changed.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    ModelError
        If its readout of edges is not built of linear layers as Allegro's is.
    """
    for module in list(model.modules()):
        if readout := module._modules.get("edge_readout"):
            module._modules["edge_readout"] = _LastLayer(readout)
            return model
    raise ModelError("the model has no readout of edges, whose last layer tells uncertainties")


class _LastLayer(GraphModuleMixin, torch.nn.Module):
    """A readout whose last layer stands apart, and whose inputs are an output.

    Parameters
    ----------
    readout
        The readout whose place it takes, with its weights.
    """

    readout: Any

    def __init__(self, readout: Any) -> None:
        super().__init__()
        linears = [
            (parent, name, layer)
            for parent in readout.modules()
            for name, layer in parent.named_children()
            if type(layer).__name__ == "ScalarLinearLayer"  # in packages, too
        ]
        if not linears or getattr(linears[-1][2], "bias", None) is not None:
            raise ModelError("the model's readout has no last linear layer without bias")
        parent, name, self.last = linears[-1]
        parent._modules[name] = torch.nn.Identity()
        features = Irreps(f"{self.last.weight.shape[0]}x0e")
        irreps_out = {**readout.irreps_out, FEATURES_KEY: features}
        GraphModuleMixin._init_irreps(self, irreps_in=readout.irreps_in, irreps_out=irreps_out)
        readout.irreps_out = {**readout.irreps_out, AtomicDataDict.EDGE_ENERGY_KEY: features}
        self.readout = readout

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Add the edge energies and the features of the atoms."""
        data = self.readout(data)
        features = data[AtomicDataDict.EDGE_ENERGY_KEY]  # what was left of the readout
        data[AtomicDataDict.EDGE_ENERGY_KEY] = self.last(features)
        center, n_atoms = data[AtomicDataDict.EDGE_INDEX_KEY][0], AtomicDataDict.num_nodes(data)
        data[FEATURES_KEY] = scatter(features.detach(), center, dim=0, dim_size=n_atoms)
        return data
