"""Time of energies and forces by size, device and variant, eager and compiled.

    python benchmarks/inference.py --eager --atoms 108 500 2048 8788 32000 --devices cuda
    python benchmarks/inference.py --eager --atoms 108 500 --devices cpu --variants qdi

Default settings of each variant, trained for one epoch (time does not depend on what was learned),
single precision, fcc copper with rattled atoms. Neighbour lists are in the time, as in MD.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from culi_mlip.calculator import HybridAllegro
from culi_mlip.labelling import Recipe, build_dataset
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import train
from culi_mlip.structures import bulk, rattled
from culi_mlip.tuning.timing import inference_times
from culi_mlip.tuning.trial import compiled

VARIANTS = ("allegro", "mlp", "qdi")
RECIPE = Recipe.model_validate(
    {
        "engine": {"name": "emt"},
        "structures": [
            {"kind": "bulk", "symbol": "Cu", "repeat": [2, 2, 2], "disorder": {"copies": 8}}
        ],
    }
)


def main() -> None:
    """Train, time and print a table."""
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/inference"), help="keeps the runs")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--atoms", nargs="+", type=int, default=[108, 500, 2048, 8788])
    parser.add_argument("--devices", nargs="+", default=devices, choices=devices)
    parser.add_argument("--eager", action="store_true", help="no compiled models")
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads; torch {torch.__version__};", *_gpu())
    print("variant   device  mode        atoms   ms a step   µs an atom")
    data = build_dataset(RECIPE, arguments.out / "data").folder
    for variant in arguments.variants:
        settings = TrainSettings(variant=variant, epochs=1)
        run = train(data, arguments.out / variant, settings).folder
        for device in arguments.devices:
            time_model(run, variant, device, "eager", arguments.atoms)
            if not arguments.eager:
                time_model(compiled(run, device), variant, device, "compiled", arguments.atoms)


def time_model(model: Path, variant: str, device: str, mode: str, sizes: list[int]) -> None:
    """Print the time of a model on crystals of about these sizes."""
    calculator = HybridAllegro(model, device)
    for size in sizes:
        n = round((size / 4) ** (1 / 3))
        atoms = rattled(bulk("Cu", cubic=True, repeat=(n, n, n)), 0.05, seed=1)
        (time,) = inference_times([calculator], [atoms])
        milliseconds, each = 1e3 * time.median, 1e6 * time.median / len(atoms)
        print(f"{variant:9} {device:7} {mode:9} {len(atoms):7} {milliseconds:11.1f} {each:12.2f}")
        sys.stdout.flush()


def _gpu() -> list[str]:
    return [torch.cuda.get_device_name()] if torch.cuda.is_available() else []


if __name__ == "__main__":
    main()
