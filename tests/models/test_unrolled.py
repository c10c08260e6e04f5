"""Written-out tensor products are nequip-allegro's: values, derivatives, gradients of weights."""

import copy

import pytest
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase

from culi_mlip.models.builders import AllegroModel, AllegroQDIModel
from culi_mlip.models.unrolled import UnrolledAllegro, unrolled
from culi_mlip.structures import bulk, rattled

OPTIONS = {
    "seed": 1,
    "model_dtype": "float64",
    "type_names": ["Cu", "Li"],
    "r_max": 4.0,
    "avg_num_neighbors": {"Cu": 20.0, "Li": 17.0},
    "l_max": 1,
    "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"},
    "num_layers": 2,
    "num_scalar_features": 8,
    "num_tensor_features": 3,
}
KEYS = [
    AtomicDataDict.PER_ATOM_ENERGY_KEY,
    AtomicDataDict.FORCE_KEY,
    AtomicDataDict.STRESS_KEY,
]


def data():
    data = compute_neighborlist_(from_ase(rattled(bulk("Cu", repeat=(2, 2, 1)), 0.1, seed=1)), 4.0)
    data[AtomicDataDict.ATOM_TYPE_KEY] = torch.arange(len(data["pos"])) % 2
    return data


def is_unrolled(model):
    return any(isinstance(module, UnrolledAllegro) for module in model.modules())


@pytest.mark.parametrize("build", [AllegroModel, AllegroQDIModel], ids=["allegro", "qdi"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l_max": 2},
        {"l_max": 3, "num_layers": 1},
        {"parity": False, "l_max": 2},
        {"num_layers": 1},
        {"num_layers": 3},
        {"num_tensor_features": 1},
        {"avg_num_neighbors": 20.0},
        {"allegro_mlp_hidden_layers_depth": 0},
        {"allegro_mlp_hidden_layers_depth": 2, "scalar_embed_mlp_hidden_layers_depth": 2},
        {"scalar_embed_mlp_hidden_layers_depth": 0},
        {"tp_path_channel_coupling": False},
        {"per_edge_type_cutoff": {"Cu": {"Cu": 3.0, "Li": 3.5}, "Li": 2.9}},
        {"radial_chemical_embed": {"_target_": "allegro.nn.TwoBodySplineScalarEmbed"}},
    ],
    ids=str,
)
def test_same_energies_forces_stresses_and_gradients(build, options):
    dense = build(**OPTIONS | options).eval()
    sparse = unrolled(copy.deepcopy(dense))
    assert is_unrolled(sparse)
    assert not is_unrolled(dense)
    results = []
    for model in (dense, sparse):
        model.train()  # keeps the graph of the forces
        out = model(data())
        sum(out[key].square().sum() for key in KEYS).backward()
        gradients = [w.grad for w in model.parameters() if w.grad is not None]
        results.append(([out[key].detach() for key in KEYS], sorted(g.norm() for g in gradients)))
    for theirs, ours in zip(*(values for values, _ in results), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"l_max": 4, "num_layers": 2}, {"weight_individual_irreps": False}], ids=str
)
def test_layers_that_are_too_large_or_built_otherwise_stay(options):
    model = AllegroModel(**OPTIONS | options).eval()
    before = model(data())[AtomicDataDict.FORCE_KEY]
    assert not is_unrolled(unrolled(model))
    assert torch.equal(model(data())[AtomicDataDict.FORCE_KEY], before)
