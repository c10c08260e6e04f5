"""Does a potential know its errors? A committee and one model's last layer, on DFT frames.

    CULI_MLIP_DATA=…/data python benchmarks/uncertainty.py --out runs/    # half an hour, two cores

The PBE frames of mlearn (Zuo et al., J. Phys. Chem. A 124, 731, 2020), `mlearn/` of the data
folder. Copper: four Allegro+QDI models, seeds 0 to 3, trained on 60 % of the AIMD, vacancy and
surface frames and of a fifth of the elastic ones, tested on 25 %: Spearman's correlation of
expected and true force error by atom. Lithium: a model trained on solids (300 and 408 K, elastic,
surfaces), tested on solids that it has not seen and on AIMD of liquids (680 and 907 K): frames that
are told to be outside. Then the time of a force call with uncertainties beside one without.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from calculator import lithium_on_copper, untrained
from scipy.stats import spearmanr

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.uncertainty import calibrate
from culi_mlip.models.evaluation import evaluate
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import train

MELTING = 454  # K, lithium
COPPER = TrainSettings(epochs=40, r_max=4.2, batch_size=2)
LITHIUM = TrainSettings(epochs=60)


def frames_of(symbol: str) -> list[Atoms]:
    """Return mlearn's frames in a random order."""
    frames = ase.io.read(
        Path(os.environ["CULI_MLIP_DATA"]) / f"mlearn/{symbol}_pbe_train.extxyz", index=":"
    )
    rng = np.random.default_rng(0)
    if symbol == "Cu":
        frames = [f for f in frames if f.info["config_type"] != "Elastic" or rng.random() < 0.2]
    return [frames[i] for i in rng.permutation(len(frames))]


def temperature(frame: Atoms) -> float:
    """Return the temperature in K that a lithium frame's description names; 0 at rest."""
    found = re.search(r"at (\d+) K", frame.info.get("description") or "")
    return float(found[1]) if found else 0.0


def split(frames: list[Atoms], shares: tuple[float, float]) -> dict[str, list[Atoms]]:
    """Return training, validation and test frames."""
    a, b = (round(len(frames) * share) for share in np.cumsum(shares))
    return {"train": frames[:a], "val": frames[a:b], "test": frames[b:]}


def trained(parts: dict[str, list[Atoms]], settings: TrainSettings, folder: Path) -> Path:
    """Return the run folder of a calibrated training."""
    data = folder.with_name(folder.name + "-data")
    data.mkdir(parents=True, exist_ok=True)
    for part in ("train", "val"):
        ase.io.write(data / f"{part}.extxyz", parts[part], format="extxyz")
    run = train(data, folder, settings, device="cpu").folder
    calibrate(run, parts["train"], parts["val"], device="cpu")
    return run


def correlation(frames: list[Atoms], name: str, runs: list[Path]) -> None:
    """Print how expected and true force errors of frames go together."""
    model = runs[0] if len(runs) == 1 else runs
    found = evaluate(frames, HybridAllegro(model, device="cpu", compile=False))
    expected, true = found.force_errors.T
    ends = np.cumsum([len(frame) for frame in frames])[:-1]
    of_frames = [[part.mean() for part in np.split(v, ends)] for v in (expected, true)]
    mae = found.errors[-1].force_mae or np.nan
    print(
        f"  {name:20} force MAE {1000 * mae:5.1f} meV/Å; correlation by atom "
        f"{found.rank_correlation:.3f}, by frame {spearmanr(*of_frames).statistic:.3f}; root mean "
        f"square of true by expected {np.sqrt(np.mean((true / expected) ** 2)):.2f}",
        flush=True,
    )


def domain(run: Path, solids: dict[str, list[Atoms]], liquids: list[Atoms]) -> None:
    """Print which frames are told to be outside."""
    calculator = HybridAllegro(run, device="cpu", compile=False)

    def farthest(frames: list[Atoms]) -> np.ndarray:
        return np.array([found["domain_distance"].max() for found in calculator.evaluate(frames)])

    unseen, strange = farthest(solids["test"]), farthest(liquids)
    held_out = np.concatenate([farthest(solids["val"]), unseen])
    limit = np.quantile(held_out, 0.95, method="higher")
    print(
        f"  at the calibrated limit: {np.mean(strange > 1):.3f} of {len(liquids)} liquid frames, "
        f"{np.mean(unseen > 1):.3f} of {len(unseen)} unseen solid ones\n"
        f"  at 5 % of all {len(held_out)} held-out solid ones: {np.mean(strange > limit):.3f} of "
        "the liquid ones"
    )


def cost(folder: Path) -> None:
    """Print the time of a force call with uncertainties beside one without."""
    plain = untrained(folder, "qdi")
    run = shutil.copytree(plain, folder / "calibrated")
    parts = [ase.io.read(folder / f"data/{part}.extxyz", index=":") for part in ("train", "val")]
    calibrate(run, *parts, device="cpu")
    for compile_ in (False, True):
        both = [HybridAllegro(path, device="cpu", compile=compile_) for path in (plain, run)]
        for size in (200, 1000):
            atoms, rng = lithium_on_copper(size), np.random.default_rng(0)
            seconds = np.zeros((15, 2))
            for turn in range(15):
                for i in (0, 1, 1, 0):
                    atoms.positions += 1e-3 * rng.normal(size=atoms.positions.shape)
                    atoms.calc = both[i]
                    start = time.perf_counter()
                    atoms.get_forces()
                    seconds[turn, i] += time.perf_counter() - start
            ratio = np.median(seconds[3:, 1] / seconds[3:, 0])
            print(f"  {'compiled' if compile_ else 'eager'}, {len(atoms)} atoms: {ratio:.3f}")


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of trainings, to continue")
    out = parser.parse_args().out
    copper = split(frames_of("Cu"), (0.6, 0.15))
    runs = [
        trained(copper, COPPER.model_copy(update={"seed": seed}), out / f"copper-{seed}")
        for seed in range(4)
    ]
    print(f"Copper: {len(copper['train'])} frames, tested on {len(copper['test'])}")
    correlation(copper["test"], "committee of four", runs)
    for seed, run in enumerate(runs):
        correlation(copper["test"], f"one model, seed {seed}", [run])
    frames = frames_of("Li")
    solids = split([f for f in frames if temperature(f) < MELTING], (0.6, 0.2))
    liquids = [
        f for f in frames if temperature(f) > MELTING and f.info["config_type"] == "AIMD-NVT"
    ]
    print(f"Lithium: {len(solids['train'])} solid frames")
    domain(trained(solids, LITHIUM, out / "lithium"), solids, liquids)
    print("Time of a force call, with uncertainties beside without")
    shutil.rmtree(out / "cost", ignore_errors=True)
    (out / "cost").mkdir()
    cost(out / "cost")


if __name__ == "__main__":
    main()
