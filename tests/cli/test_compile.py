"""compile, export and info as commands; what they make is tested with the calculator."""

import re

import pytest

from tests.cli.test_wrong_input import assert_one_line


def test_info_names_versions_devices_engines_and_what_is_missing(culi, tmp_path, monkeypatch):
    monkeypatch.setenv("CULI_MLIP_CACHE", str(tmp_path))
    done = culi("info")
    assert done.returncode == 0, done.stderr
    for line in (
        r"  torch  +\d+\.\d+",
        r"  cpu  +.*\d+ threads",
        r"  C\+\+ compiler  +\S",
        r"  emt  +ready",
        r"  vasp  +(ready|no command for VASP: set ASE_VASP_COMMAND)",
        r"  torch-sim-atomistic  +(\d|missing: pip install 'culi-mlip\[torchsim\]')",
        r"  compiled models  +0 in .*compiled, 0\.0 MB",
    ):
        assert re.search(f"^{line}", done.stdout, re.MULTILINE), line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compile", "missing"], ["no model at missing", "does not exist"]),
        (["compile", "missing", "--device", "gpu"], ["a GPU is called cuda"]),
        (["compile", "missing", "--target", "gromacs"], ["gromacs", "lammps"]),
        (
            ["compile", "missing", "--out", "model.pt2"],
            ["a compiled model's name ends in .nequip.pt2"],
        ),
        (["export", "lammps", "missing"], ["no model at missing", "does not exist"]),
        (["export", "lammps", "missing", "missing.xyz"], ["missing.xyz does not exist"]),
    ],
)
def test_wrong_input(culi, tmp_path, arguments, words):
    assert_one_line(culi(*arguments), *words)
    assert not list(tmp_path.iterdir())


def test_kernels_for_gpus_are_not_for_the_cpu(culi, trained):
    done = culi("compile", trained["allegro"], "--device", "cpu", "--kernel", "triton")
    assert_one_line(done, "the kernel triton is for GPUs", "--device cuda")


def test_a_compiled_model_is_not_compiled_again(culi, tmp_path, trained):
    name = "model.nequip.pt2"
    (tmp_path / name).write_bytes((trained["allegro"] / "checkpoints/best.ckpt").read_bytes())
    assert_one_line(culi("compile", name), f"{name} is a compiled model", "give the run folder")
