"""Devices: one check for all commands, and GPUs by the names that are visible."""

from types import SimpleNamespace

import pytest
import torch

from culi_mlip.cli import main
from culi_mlip.devices import check_device, environment_of, gpu_identity, gpu_indices, gpu_names
from culi_mlip.errors import CuliError


@pytest.fixture
def gpus(monkeypatch):
    """Let PyTorch see n GPUs, as CUDA_VISIBLE_DEVICES would have it."""

    def see(n, visible=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid=f"uuid {i}")
        )
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return see


@pytest.mark.parametrize("name", ["gpu", "GPU", "Cuda", "cuda:", "cuda:-1", "cuda:a", "mps", ""])
@pytest.mark.parametrize("n", [0, 2])
def test_other_names_are_refused_with_the_right_one(gpus, name, n):
    gpus(n)
    there = "there is cpu and cuda:0, cuda:1$" if n else "there is only cpu"
    with pytest.raises(
        CuliError, match=rf"'{name}' is unknown: give cpu, .* called cuda\); {there}"
    ):
        check_device(name)


def test_a_device_that_is_there_is_taken_and_another_refused(gpus):
    gpus(0)
    assert check_device(None) == check_device("cpu") == "cpu"
    for name in ("cuda", "cuda:0"):
        with pytest.raises(CuliError, match=f"no device '{name}': there is only cpu"):
            check_device(name)
    gpus(2)
    assert check_device(None) == "cuda"
    for name in ("cpu", "cuda", "cuda:0", "cuda:1"):
        assert check_device(name) == name
    with pytest.raises(CuliError, match="no device 'cuda:2': there is cpu and cuda:0, cuda:1"):
        check_device("cuda:2")


@pytest.mark.parametrize(
    ("visible", "n", "names"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2,3", 2, ["2", "3"]),
        (" 3 , 0", 2, ["3", "0"]),
        ("GPU-8f2a,GPU-1c", 2, ["GPU-8f2a", "GPU-1c"]),
        ("MIG-5b1e", 1, ["MIG-5b1e"]),
        ("3,-1,2", 1, ["3"]),
        ("", 0, []),
        ("-1", 0, []),
    ],
)
def test_gpus_have_the_names_that_are_visible(gpus, visible, n, names):
    gpus(n, visible)
    assert gpu_names() == names
    if n:  # as PyTorch reads the variable itself
        parsed = torch.cuda._parse_visible_devices()
        assert [str(p).strip() for p in parsed[:n]] == names
    assert [environment_of(f"cuda:{i}")["CUDA_VISIBLE_DEVICES"] for i in range(n)] == names
    assert environment_of("cpu") == {"CUDA_VISIBLE_DEVICES": ""}
    assert environment_of("cuda") == {}
    assert gpu_indices("cuda") == list(range(n))
    assert gpu_indices("cuda:1") == [1]
    assert gpu_indices("cpu") == []


def test_gpus_are_told_apart_by_their_own_numbers(gpus, monkeypatch):
    """Under SLURM, each job calls its GPU 0."""
    gpus(2, "2,3")
    assert gpu_identity(1) == "uuid 1"
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace())
    assert gpu_identity(1) == "3", "an older PyTorch does not know them"


@pytest.mark.parametrize(
    "command",
    [
        ["train", "missing"],
        ["evaluate", "missing"],
        ["md", "missing.xyz", "--model", "missing"],
        ["optimize", "missing"],
    ],
)
def test_each_command_checks_the_device_before_anything_else(gpus, capsys, command):
    gpus(0)
    for name, words in (("gpu", "a GPU is called cuda"), ("cuda:5", "there is only cpu")):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--device", name])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert name in line
        assert words in line
