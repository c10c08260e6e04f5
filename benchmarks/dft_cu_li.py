"""Errors of the three variants on real DFT: PBE frames of Cu and of Li.

The frames are those of Zuo et al. (J. Phys. Chem. A 124, 731, 2020; the mlearn repository, BSD-3),
found through CULI_MLIP_DATA. Validation frames are whole trajectories, never seen in training:

- Cu: the middle one of the three AIMD temperatures (36 of 108 AIMD frames; the file does not name
  the temperatures, but the potential energies of the three runs do not overlap);
- Li: AIMD at 408 K (compressed), 680 K (normal) and 907 K (expanded volume), and vacancies at
  300 K: every volume and every temperature is tested, and each is seen in other trajectories;
- every sixth of the static frames (elastic deformations, surfaces) of each kind.

One training is one core; Cu and Li of a variant run side by side. Run it on an idle machine:

    python benchmarks/dft_cu_li.py --out build/dft_cu_li
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import ase.io
from ase import Atoms

from culi_mlip.calculator import HybridAllegro
from culi_mlip.files import write_frames, write_json
from culi_mlip.models.evaluation import evaluate
from culi_mlip.models.settings import LossWeights, TrainSettings

VARIANTS = ("allegro", "mlp", "qdi")
COMMON = {"l_max": 1, "batch_size": 2, "learning_rate": 0.01, "compile": True}
LI_HELD_OUT = (
    "shrunken structure at 408 K",
    "normal structure at 680 K",
    "expanded structure at 907 K",
    "Vacancy AIMD NVT simulation at 300 K",
)
# Stresses of the Cu frames contradict their energies: neither element is trained on them.
LOSS = LossWeights(energy=10.0, forces=1.0, stress=0.0)
SETTINGS = {
    "Cu": TrainSettings(**COMMON, r_max=5.5, epochs=36, loss=LOSS),
    "Li": TrainSettings(**COMMON, r_max=7.0, epochs=120, loss=LOSS),
}


def cu_trajectory(atoms: Atoms) -> str | None:
    """Name the trajectory of a Cu frame; None for static frames."""
    kind = atoms.info["config_type"]
    if kind == "AIMD-NVT":
        energy = atoms.get_potential_energy() / len(atoms)
        return "cold" if energy < -4.0 else "middle" if energy < -3.8 else "hot"
    return kind if kind == "Vacancy" else None


def li_trajectory(atoms: Atoms) -> str | None:
    """Name the trajectory of a Li frame; None for static frames."""
    found = re.match(r"Snapshot \d+ of \d+ of (.*)", atoms.info["description"])
    return found.group(1) if found else None


def is_held_out(symbol: str, trajectory: str) -> bool:
    """Say whether a trajectory is for validation."""
    return trajectory == "middle" if symbol == "Cu" else trajectory.endswith(LI_HELD_OUT)


def split(symbol: str, folder: Path) -> Path:
    """Write train.extxyz and val.extxyz of one element."""
    source = Path(os.environ["CULI_MLIP_DATA"]) / "mlearn" / f"{symbol}_pbe_train.extxyz"
    trajectory_of = cu_trajectory if symbol == "Cu" else li_trajectory
    parts: dict[str, list[Atoms]] = {"train": [], "val": []}
    static: dict[str, int] = defaultdict(int)
    for atoms in ase.io.read(source, index=":"):
        kind, trajectory = atoms.info["config_type"], trajectory_of(atoms)
        if trajectory is None:
            static[kind] += 1
            held_out = static[kind] % 6 == 0
        else:
            held_out = is_held_out(symbol, trajectory)
        atoms.info = {"kind": kind}
        parts["val" if held_out else "train"].append(atoms)
    for part, frames in parts.items():
        write_frames(folder / symbol / f"{part}.extxyz", frames)
    return folder / symbol


def train_side_by_side(variant: str, folder: Path, data: dict[str, Path]) -> tuple[float, float]:
    """Train on both elements at once, one core each; return wall and CPU time in minutes."""
    start, cpu_start = time.monotonic(), _cpu_of_children()
    processes = []
    for symbol, source in data.items():
        settings = folder / f"{symbol}.yaml"
        values = SETTINGS[symbol].model_dump(mode="json", exclude={"variant"})
        settings.write_text(json.dumps(values))
        processes.append(
            subprocess.Popen(
                [
                    sys.executable, "-c", "from culi_mlip.cli import main; main()", "train", source,
                    "--variant", variant, "--settings", settings, "--out",
                    folder / f"{variant}-{symbol}",
                ],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        )  # fmt: skip
    if any([p.wait() for p in processes]):  # noqa: C419 (wait for all of them)
        sys.exit(f"training of {variant} failed")
    return (time.monotonic() - start) / 60, (_cpu_of_children() - cpu_start) / 60


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Train, test, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/dft_cu_li"))
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = {symbol: split(symbol, arguments.out) for symbol in SETTINGS}
    rows = []
    for variant in arguments.variants:
        minutes, cpu_minutes = train_side_by_side(variant, arguments.out, data)
        for symbol, source in data.items():
            frames = ase.io.read(source / "val.extxyz", index=":")
            result = evaluate(frames, HybridAllegro(arguments.out / f"{variant}-{symbol}"))
            for errors in result.errors:
                row = {
                    "variant": variant,
                    "element": symbol,
                    "kind": errors.kind,
                    "frames": errors.frames,
                    "force_mae_meV_A": round(1000 * errors.force_mae, 2),
                    "energy_mae_meV_atom": round(1000 * errors.energy_mae, 2),
                    "minutes": round(minutes, 1),
                    "cpu_minutes": round(cpu_minutes, 1),
                }
                rows.append(row)
                print("  ".join(f"{v!s:>10}" for v in row.values()), flush=True)
        write_json(arguments.out / "results.json", rows)
    print("columns:", ", ".join(rows[0]))


if __name__ == "__main__":
    main()
