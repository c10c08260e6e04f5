"""Allegro+MLP and Allegro+QDI tuned on real DFT: PBE frames of copper, `culi-mlip optimize` as is.

The frames of benchmarks/dft_cu_li.py: every third of its training frames; its unseen frames in
turns for validation and for timing. Trainings are short; one over four minutes has failed.
Run it on an idle machine; killed, the same command continues:

    python benchmarks/tuning.py --out build/tuning
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import ase.io
import yaml
from dft_cu_li import LOSS, split

from culi_mlip.files import write_frames, write_text
from culi_mlip.workflows import workflow

VARIANTS = ("mlp", "qdi")
RANGES = {"r_max": (4.0, 6.0), "num_layers": (1, 3)}
"""Narrower than the paper's: a cutoff of 12 Å holds 600 copper neighbours."""


def dataset(out: Path) -> Path:
    """Write train.extxyz, val.extxyz and test.extxyz."""
    source, folder = split("Cu", out / "frames"), out / "data"
    unseen = ase.io.read(source / "val.extxyz", ":")
    parts = {
        "train": ase.io.read(source / "train.extxyz", "::3"),
        "val": unseen[::2],
        "test": unseen[1::2],
    }
    for part, frames in parts.items():
        write_frames(folder / f"{part}.extxyz", frames)
    return folder


def recipe(variant: str, epochs: int, out: Path) -> Path:
    """Write the variant's recipe with this benchmark's length of training and ranges."""
    values = yaml.safe_load(workflow(f"tune-{variant}.yaml").read_text())
    values["settings"] |= {"epochs": epochs, "loss": LOSS.model_dump()}
    for name, (low, high) in RANGES.items():
        values["space"][name] |= {"low": low, "high": high}
    file = out / f"{variant}.yaml"
    write_text(file, yaml.safe_dump(values, sort_keys=False))
    return file


def main() -> None:
    """Tune both variants one after the other, then draw them together."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/tuning"))
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    out = arguments.out
    data = dataset(out)
    culi = [sys.executable, "-c", "from culi_mlip.cli import main; main()", "optimize"]
    for variant in VARIANTS:
        flags = {
            "recipe": recipe(variant, arguments.epochs, out),
            "trials": arguments.trials,
            "workers": arguments.workers,
            "time-limit": 4,
            "out": out / variant,
        }
        options = [f"--{name}={value}" for name, value in flags.items()]
        subprocess.run([*culi, data, *options], check=True)
    folders = [out / variant for variant in VARIANTS]
    subprocess.run([*culi, "report", *folders, f"--out={out / 'both'}"], check=True)


if __name__ == "__main__":
    main()
