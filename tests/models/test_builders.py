"""nequip's own test class on each builder, and what the paper's variants promise."""

import math

import pytest
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_dict
from nequip.utils.unittests.model_tests import BaseEnergyModelTests
from nequip.utils.unittests.model_tests_basic import EnergyModelTestsMixin

from culi_mlip.errors import ModelError
from culi_mlip.models.builders import AllegroMLPModel, AllegroModel, AllegroQDIModel

MINIMAL = {
    "seed": 123,
    "type_names": ["H", "C", "O"],
    "r_max": 4.0,
    "avg_num_neighbors": 20.0,
    "l_max": 1,
    "radial_chemical_embed": {
        "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
        "num_bessels": 4,
    },
    "num_layers": 2,
    "num_scalar_features": 16,
    "num_tensor_features": 4,
    "per_type_energy_scales": {"H": 1.1, "C": 0.9, "O": 1.3},
    "per_type_energy_shifts": {"H": -1.0, "C": -5.0, "O": -7.0},
}
VARIANTS = {
    "allegro": {"_target_": "culi_mlip.models.builders.AllegroModel"},
    "mlp": {
        "_target_": "culi_mlip.models.builders.AllegroMLPModel",
        "readout_features": 6,
        "further_mlp_widths": [12, 8],
    },
    "qdi": {"_target_": "culi_mlip.models.builders.AllegroQDIModel"},
    "qdi-rows": {  # more features than qubits: several rows of the lattice
        "_target_": "culi_mlip.models.builders.AllegroQDIModel",
        "circuit": {"n_features": 7, "n_qubits": 3, "depth": 2},
    },
} | {
    f"qdi-{layer}": {
        "_target_": "culi_mlip.models.builders.AllegroQDIModel",
        "hybrid_layer": layer,
    }
    for layer in ("frozen", "mlp", "identity")
}


class NequipsFixtures:
    """What nequip's own test classes ask of the models that they test."""

    @pytest.fixture
    def strict_locality(self):
        return True

    @pytest.fixture(scope="class", params=["minimal_toy_emt.yaml"])
    def conffile(self, request):
        return request.param  # the other configuration downloads its data


class TestVariants(NequipsFixtures, EnergyModelTestsMixin):
    """Equivariance, finite differences, smoothness, batching, isolated atoms and more."""

    @pytest.fixture(scope="class", params=VARIANTS.values(), ids=VARIANTS)
    def config(self, request):
        return MINIMAL | request.param


@pytest.mark.slow
class TestVariantsInNequipsWorld(NequipsFixtures, BaseEnergyModelTests):
    """Training, packaging, compiling and LAMMPS' ML-IAP interface, by nequip."""

    @pytest.fixture(scope="class", params=VARIANTS.values(), ids=VARIANTS)
    def config(self, request):
        return MINIMAL | request.param


def test_widths_of_the_mlp_are_the_ones_asked_for():
    model = AllegroMLPModel(
        model_dtype="float32", **MINIMAL, readout_features=6, further_mlp_widths=(12, 8)
    )
    shapes = [tuple(p.shape) for n, p in model.named_parameters() if "further" in n]
    assert shapes == [(6, 12), (12, 8), (8, 1)]


def test_the_hybrid_holds_the_papers_circuit():
    model = AllegroQDIModel(model_dtype="float32", **MINIMAL)
    (weight,) = [p for n, p in model.named_parameters() if n.endswith("quantum.weight")]
    assert weight.numel() == 24


BUILDERS = {"AllegroModel": AllegroModel, "AllegroMLPModel": AllegroMLPModel}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_energy_of_an_edge_vanishes_exactly_at_the_cutoff_in_single_precision(variant):
    options = MINIMAL | variant
    build = BUILDERS.get(options.pop("_target_").rpartition(".")[2], AllegroQDIModel)
    model = build(model_dtype="float32", **options)

    def energy(distance):
        data = from_dict(
            {
                "pos": torch.tensor([[0.0, 0, 0], [distance, 0, 0]], dtype=torch.float64),
                "atom_types": torch.tensor([0, 2]),
            }
        )
        data = compute_neighborlist_(data, r_max=6.0)
        return model(data)[AtomicDataDict.TOTAL_ENERGY_KEY].item()

    apart = energy(5.9)
    assert energy(4.0) == apart
    assert energy(4.0 - 1e-3) == pytest.approx(apart, abs=1e-6)
    assert abs(energy(2.0) - apart) > 1e-3


def build(variant, **options):
    options = MINIMAL | VARIANTS[variant] | options
    builder = BUILDERS.get(options.pop("_target_").rpartition(".")[2], AllegroQDIModel)
    return builder(**options)


@pytest.mark.parametrize("variant", ["qdi", "qdi-rows", "qdi-mlp"])
def test_the_envelope_multiplies_the_energy_of_an_edge(variant):
    """The energy is as large as the envelope says, whatever the features."""
    readout = build(variant, model_dtype="float64").model.func.edge_readout
    scalars = torch.randn(3, readout.n_scalars, dtype=torch.float64)

    def energies(envelope):
        data = {
            AtomicDataDict.EDGE_FEATURES_KEY: scalars,
            AtomicDataDict.EDGE_CUTOFF_KEY: torch.tensor(envelope, dtype=torch.float64)[:, None],
        }
        return readout(data)[AtomicDataDict.EDGE_ENERGY_KEY][:, 0]

    full = energies([1.0, 1.0, 1.0])
    assert full.abs().min() > 1e-6
    torch.testing.assert_close(energies([0.5, 0.25, 0.0]), full * torch.tensor([0.5, 0.25, 0.0]))


def test_features_are_half_turns():
    """The circuit is periodic in 2π: a feature that rises by 2 is the same, by 1 another."""
    readout = build("qdi", model_dtype="float64").model.func.edge_readout
    width = readout.n_scalars
    readout.readout = torch.nn.Linear(width, 4, bias=False, dtype=torch.float64)
    torch.nn.init.eye_(readout.readout.weight)  # the first four scalars are the features
    features = torch.rand(3, width, dtype=torch.float64)

    def energies(features):
        data = {
            AtomicDataDict.EDGE_FEATURES_KEY: features,
            AtomicDataDict.EDGE_CUTOFF_KEY: torch.ones(len(features), 1, dtype=torch.float64),
        }
        return readout(data)[AtomicDataDict.EDGE_ENERGY_KEY]

    torch.testing.assert_close(energies(features + 2), energies(features), rtol=0, atol=1e-12)
    assert (energies(features + 1) - energies(features)).abs().min() > 1e-6
    assert not energies(torch.zeros(1, width, dtype=torch.float64)).any(), "no features, no energy"


def test_the_hybrids_energy_falls_as_envelope_times_features_at_the_cutoff():
    """Features are Bessel functions times an envelope, and fall as (r_max - r)·(r_max - r)³."""

    def energy_of_pair(model, distance):
        data = from_dict(
            {
                "pos": torch.tensor([[0.0, 0, 0], [distance, 0, 0]], dtype=torch.float64),
                "atom_types": torch.tensor([0, 2]),
            }
        )
        data = compute_neighborlist_(data, r_max=4.0)
        return model(data)[AtomicDataDict.TOTAL_ENERGY_KEY].item()

    for variant, power in (("qdi", 4 + 3), ("mlp", 4)):
        no_shifts = dict.fromkeys(MINIMAL["type_names"], 0.0)
        model = build(variant, model_dtype="float64", per_type_energy_shifts=no_shifts)
        near, nearer = (energy_of_pair(model, 4.0 - d) for d in (0.02, 0.01))
        assert math.log2(abs(near / nearer)) == pytest.approx(power, abs=0.2), variant


def test_null_controls_have_as_many_trained_weights_as_they_say():
    trained = {}
    for layer in ("circuit", "frozen", "mlp", "identity"):
        model = AllegroQDIModel(model_dtype="float32", **MINIMAL, hybrid_layer=layer)
        parameters = [p for n, p in model.named_parameters() if ".quantum." in n]
        trained[layer] = sum(p.numel() for p in parameters if p.requires_grad)
    assert trained == {"circuit": 24, "frozen": 0, "mlp": 24, "identity": 0}
    with pytest.raises(ModelError, match="hybrid layer 'magic': choose one of circuit, frozen"):
        AllegroQDIModel(model_dtype="float32", **MINIMAL, hybrid_layer="magic")
