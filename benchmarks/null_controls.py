"""Does the quantum layer help? Every variant and null control at equal budget over several seeds.

The PBE frames of copper that benchmarks/dft_cu_li.py describes, split as there; one training is one
core, two run side by side. Killed, the same command continues.

    python benchmarks/null_controls.py --out build/null_controls
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.io
from dft_cu_li import LOSS, split

from culi_mlip.calculator import HybridAllegro
from culi_mlip.files import write_json
from culi_mlip.models.evaluation import evaluate
from culi_mlip.models.settings import BUILDERS, TrainSettings


def train(folder: Path, data: Path, settings: TrainSettings) -> float:
    """Train one potential; return its force MAE on the unseen frames in eV/Å."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "settings.json"
    file.write_text(json.dumps(settings.model_dump(mode="json")))
    subprocess.run(
        [
            *(sys.executable, "-c", "from culi_mlip.cli import main; main()", "train", str(data)),
            *("--settings", str(file), "--out", str(folder / "run")),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    frames = ase.io.read(data / "val.extxyz", index=":")
    errors = evaluate(frames, HybridAllegro(folder / "run")).errors
    return float(next(e.force_mae for e in errors if e.kind == "all"))


def main() -> None:
    """Train, test, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/null_controls"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    data = split("Cu", arguments.out)
    jobs = [(variant, seed) for seed in range(arguments.seeds) for variant in BUILDERS]

    def run(job: tuple[str, int]) -> float:
        variant, seed = job
        settings = TrainSettings(
            variant=variant, seed=seed, epochs=arguments.epochs, batch_size=2, r_max=5.0, loss=LOSS
        )
        mae = train(arguments.out / f"{variant}-{seed}", data, settings)
        print(f"{variant:14} seed {seed}: {1000 * mae:.1f} meV/Å", flush=True)
        return mae

    with ThreadPoolExecutor(2) as pool:
        maes = dict(zip(jobs, pool.map(run, jobs), strict=True))
    print(f"\n{'variant':14}{'mean':>8}{'spread':>8}   force MAE on unseen frames, meV/Å")
    table = {}
    for variant in BUILDERS:
        values = [1000 * maes[variant, seed] for seed in range(arguments.seeds)]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        table[variant] = {"mean": statistics.mean(values), "spread": spread, "values": values}
        print(f"{variant:14}{statistics.mean(values):8.2f}{spread:8.2f}")
    write_json(arguments.out / "results.json", table)


if __name__ == "__main__":
    main()
