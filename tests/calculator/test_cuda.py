"""On a GPU, where there is one: training, the CPU's forces, compiled models, dynamics, tuning.

The file runs by itself within five minutes; most of them are one model's compilation.
"""

import json
import os
import subprocess
import sys

import ase.io
import numpy as np
import pytest
import torch
import yaml

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.global_state import precisions
from culi_mlip.devices import check_device, gpu_identity, gpu_names
from culi_mlip.models.training import train
from culi_mlip.structures import bulk, rattled, slab
from culi_mlip.tuning.recipe import Measurement
from culi_mlip.tuning.trial import compiled
from culi_mlip.tuning.worker import places_of
from tests.calculator.test_global_state import fresh, settings  # noqa: F401 (a fixture)
from tests.cli.test_wrong_input import assert_one_line

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def structures():
    surface = slab("Cu", (1, 1, 1), thickness=4, vacuum=5, free_layers=None) * (2, 1, 1)
    return [rattled(bulk("Cu", repeat=(2, 2, 2)), 0.1, seed=1), rattled(surface, 0.1, seed=2)]


@pytest.fixture
def by_its_own_name(monkeypatch):
    """The first visible GPU, named as a scheduler may: GPU-… instead of its index."""
    name = gpu_identity(0)
    name = name if name.startswith(("GPU-", "MIG-")) else f"GPU-{name}"
    return {**os.environ, "CUDA_VISIBLE_DEVICES": name}, name


@pytest.mark.parametrize("variant", ["allegro", "qdi"])
def test_gpu_gives_the_cpus_energies_forces_and_stresses(trained, variant):
    for atoms in structures():
        results = []
        for device in ("cpu", "cuda"):
            atoms.calc = HybridAllegro(trained[variant], device=device)
            atoms.get_potential_energy()
            results.append(atoms.calc.results)
        for name in ("energy", "forces", *(("stress",) if atoms.pbc.all() else ())):
            np.testing.assert_allclose(results[1][name], results[0][name], rtol=1e-7, atol=1e-9)


def devices_of(run):
    """Where the weights of a training were."""
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=False)
    weights = [w for w in checkpoint["state_dict"].values() if isinstance(w, torch.Tensor)]
    return {w.device.type for w in weights if w.numel()}


def test_training_used_one_gpu(trained):
    assert devices_of(trained["qdi"]) == {"cuda"}
    config = yaml.safe_load((trained["qdi"] / "config.yaml").read_text())
    checkpoint = torch.load(trained["qdi"] / "checkpoints" / "last.ckpt", weights_only=False)
    schedule = config["training_module"]["lr_scheduler"]["scheduler"]
    assert checkpoint["global_step"] == schedule["total_steps"]


def test_training_on_the_cpu_beside_a_gpu(tiny_data, tiny_settings, tmp_path):
    settings = tiny_settings.model_copy(update={"variant": "allegro", "epochs": 1})
    run = train(tiny_data, tmp_path / "run", settings, device="cpu").folder
    assert devices_of(run) == {"cpu"}


def test_a_gpu_that_is_not_there_is_one_line(culi):
    n = torch.cuda.device_count()
    for command in (("evaluate", "missing"), ("train", "missing"), ("optimize", "missing")):
        done = culi(*command, "--device", f"cuda:{n}")
        assert_one_line(done, f"no device 'cuda:{n}'", "there is cpu and cuda:0")
    assert check_device(None) == "cuda"
    assert check_device(f"cuda:{n - 1}") == f"cuda:{n - 1}"


def test_a_gpu_by_its_own_name_is_the_same_gpu(by_its_own_name, tmp_path):
    """It is seen, named and locked as the one that has a number in this process."""
    environment, name = by_its_own_name
    code = (
        "import sys, tempfile\n"
        "from culi_mlip.devices import check_device, environment_of, gpu_names\n"
        "from culi_mlip.errors import CuliError\n"
        "from culi_mlip.tuning.recipe import Measurement\n"
        "from culi_mlip.tuning.worker import places_of\n"
        "print(gpu_names(), check_device('cuda:0'), environment_of('cuda:0'))\n"
        "try:\n"
        "    with places_of(1, Measurement(device='cuda')):\n"
        "        print('free')\n"
        "except CuliError as error:\n"
        "    print(error)\n"
    )
    environment["TMPDIR"] = str(tmp_path)

    def other_process():
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    expected = f"{[name]} cuda:0 { ({'CUDA_VISIBLE_DEVICES': name}) }"
    assert other_process() == [expected, "free"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path))
        with places_of(1, Measurement(device="cuda:0")) as (place,):
            assert place.environment == {"CUDA_VISIBLE_DEVICES": gpu_names()[0]}
            seen, refusal = other_process()
    assert seen == expected
    assert "leave 0 of the 1 GPUs" in refusal


def test_loading_on_a_gpu_changes_no_global_setting(trained, fresh):  # noqa: F811
    torch.set_float32_matmul_precision("high")
    model, atoms = trained["qdi"], structures()[0]
    torch.zeros(1, device="cuda")
    before = settings(), torch.cuda.get_rng_state().tolist(), precisions()
    atoms.calc = HybridAllegro(model, device="cuda:0")
    atoms.get_forces()
    after = settings(), torch.cuda.get_rng_state().tolist(), precisions()
    after[0]["levels"] = {name: after[0]["levels"][name] for name in before[0]["levels"]}
    for name, value in before[0].items():
        assert after[0][name] == value, name
    assert after[1:] == before[1:]
    torch.set_float32_matmul_precision("highest")


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


def test_tuning_times_the_gpu(culi, tiny_data, tmp_path, by_its_own_name):
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
        *("optimize", tiny_data, "--recipe", "recipe.yaml", "--trials", 1, "--out", "hpo"),
        *("--device", "cuda"),
        env=by_its_own_name[0],
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(f.read_text()) for f in (tmp_path / "hpo").rglob("result.json")]
    assert len(results) == 1
    assert all(result["hardware"] == torch.cuda.get_device_name() for result in results)
