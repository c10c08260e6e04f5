"""On a GPU, where there is one: training, the CPU's forces, compiled models, dynamics, tuning."""

import json

import ase.io
import numpy as np
import pytest
import torch
import yaml

from culi_mlip.calculator import HybridAllegro
from culi_mlip.optimize.trial import compiled
from culi_mlip.structures import bulk, rattled, slab

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def structures():
    surface = slab("Cu", (1, 1, 1), thickness=4, vacuum=5, free_layers=None) * (2, 1, 1)
    return [rattled(bulk("Cu", repeat=(2, 2, 2)), 0.1, seed=1), rattled(surface, 0.1, seed=2)]


@pytest.mark.parametrize("variant", ["allegro", "mlp", "qdi"])
def test_gpu_gives_the_cpus_energies_forces_and_stresses(trained, variant):
    for atoms in structures():
        results = []
        for device in ("cpu", "cuda"):
            atoms.calc = HybridAllegro(trained[variant], device=device)
            atoms.get_potential_energy()
            results.append(atoms.calc.results)
        for name in ("energy", "forces", *(("stress",) if atoms.pbc.all() else ())):
            np.testing.assert_allclose(results[1][name], results[0][name], rtol=1e-7, atol=1e-9)


def test_training_used_the_gpu(trained):
    checkpoint = torch.load(trained["qdi"] / "checkpoints" / "best.ckpt", weights_only=False)
    weights = [w for w in checkpoint["state_dict"].values() if isinstance(w, torch.Tensor)]
    assert {w.device.type for w in weights if w.numel()} == {"cuda"}


def test_compiled_for_the_gpu_gives_the_same_forces(trained):
    file = compiled(trained["qdi"], "cuda")
    for atoms in structures():
        forces = []
        for path, device in ((trained["qdi"], "cpu"), (file, "cuda")):
            atoms.calc = HybridAllegro(path, device=device)
            forces.append(atoms.get_forces())
        np.testing.assert_allclose(forces[1], forces[0], rtol=0, atol=1e-8)


def test_dynamics_on_the_gpu_conserve_the_energy(culi, trained, tmp_path):
    ase.io.write(tmp_path / "start.extxyz", structures()[0])
    done = culi(
        *("md", "start.extxyz", "--model", trained["qdi"], "--device", "cuda", "--out", "md"),
        *("--ensemble", "nve", "--timestep", 0.5, "--time", 0.1),
    )
    assert done.returncode == 0, done.stderr
    frames = ase.io.read(tmp_path / "md" / "trajectory.extxyz", ":")
    energies = [f.get_potential_energy() + f.get_kinetic_energy() for f in frames]
    assert np.ptp(energies) < 0.02 * frames[0].get_kinetic_energy() + 1e-4


def test_tuning_times_the_gpu(culi, tiny_data, tmp_path):
    recipe = {
        "settings": {
            "variant": "mlp",
            "epochs": 2,
            "num_scalar_features": 8,
            "num_tensor_features": 2,
        },
        "space": {"readout_width": {"type": "integer", "low": 4, "high": 32}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = culi(
        *("optimize", tiny_data, "--recipe", "recipe.yaml", "--trials", 2, "--out", "hpo"),
        *("--device", "cuda"),
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(f.read_text()) for f in (tmp_path / "hpo").rglob("result.json")]
    assert len(results) == 2
    assert all(result["hardware"] == torch.cuda.get_device_name() for result in results)
