"""Quickstart killed at random instants ends with the same dataset and a finished run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("chgnet")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]

COMMAND = [sys.executable, "-c", "from culi_mlip.cli import main; main()", "quickstart"]
DATASET = ("train.extxyz", "val.extxyz", "test.extxyz")


def dataset(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "data" / name).read_bytes() for name in DATASET}


@pytest.mark.parametrize("options", [["--quick"], []], ids=["quick", "whole"])
def test_ten_kills_change_nothing(tmp_path, options):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    command = [*COMMAND, *options]
    start = time.monotonic()
    subprocess.run([*command, "--out", whole], check=True, capture_output=True)
    duration = time.monotonic() - start
    instants = random.Random(7)
    stages = set()
    for _ in range(10):
        process = subprocess.Popen(
            [*command, "--out", broken], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(instants.uniform(1, min(0.6 * duration, 90)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        stages.add(sum(p.stat().st_size for p in broken.rglob("*") if p.is_file()))
        assert not nequip_processes(broken), "the training died with its parent"
    assert len(stages) > 2, "the kills met the run at different stages"
    subprocess.run([*command, "--out", broken], check=True, capture_output=True)
    assert dataset(broken) == dataset(whole)
    for part in (".", "data", "run", "md/nvt", "md/nve"):
        assert yaml.safe_load((broken / part / "run.yaml").read_text())["status"] == "done"
    assert (broken / "report.html").stat().st_size > 100_000
    assert not [p for p in broken.rglob(".*") if p.suffix], "no temporary file is left"


def nequip_processes(folder: Path) -> list[int]:
    """Return training processes whose working directory lies in the folder."""
    time.sleep(0.5)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found
