"""Cost of the quantum layer inside Allegro, beside plain Allegro of the same size, in one run.

    python benchmarks/hybrid.py            # 1,000 atoms of a copper slab with lithium, float32

Both are trained for one epoch on a handful of frames (their weights do not matter here), compiled,
and then timed in turns: force calls of HybridAllegro on one thread, eager and compiled, and force
calls and training steps with nequip-allegro's own layers. The median of the turns' ratios counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model.saved_models.load_utils import load_saved_model
from nequip.utils.global_state import set_global_state

from culi_mlip.calculator import HybridAllegro
from culi_mlip.models.files import model_file
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import train
from culi_mlip.process import keep_freed_memory
from culi_mlip.structures import bulk, li_on_cu, rattled, slab

VARIANTS = ("allegro", "qdi")
R_MAX = 5.0


def big_slab() -> Atoms:
    """Return about a thousand atoms: copper (100) with two layers of lithium."""
    atoms = li_on_cu(slab("Cu", (1, 0, 0), thickness=14, free_layers=None), 2, repeat=(10, 10, 1))
    return rattled(atoms, 0.05, seed=0)


def training_frames(folder: Path) -> None:
    """Write a few frames of copper and lithium with made-up labels: they only set sizes."""
    rng = np.random.default_rng(0)
    frames = []
    for symbol in ("Cu", "Li") * 4:
        atoms = rattled(bulk(symbol, repeat=(2, 2, 2)), 0.1, seed=len(frames))
        labels = {"energy": rng.normal(), "forces": rng.normal(size=(len(atoms), 3))}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    ase.io.write(folder / "train.extxyz", frames, format="extxyz")
    ase.io.write(folder / "val.extxyz", frames[-2:], format="extxyz")


def paired(jobs: dict[str, Callable[[], None]], turns: int) -> dict[str, np.ndarray]:
    """Seconds of each job in every turn.

    A turn runs the jobs forwards and backwards (A B B A), so that a machine that slows down or
    speeds up within it does the same to both.
    """
    names = list(jobs)
    seconds = {name: np.zeros(turns) for name in names}
    for turn in range(turns):
        for name in names + names[::-1]:
            start = time.perf_counter()
            jobs[name]()
            seconds[name][turn] += (time.perf_counter() - start) / 2
    return seconds


def warm(jobs: dict[str, Callable[[], None]]) -> dict[str, Callable[[], None]]:
    """Run each job once, outside the measurement, and return them."""
    for job in jobs.values():
        job()
    return jobs


def report(name: str, seconds: dict[str, np.ndarray]) -> None:
    """Print median times, the median of the turns' ratios and its quartiles."""
    plain, hybrid = (seconds[v] for v in VARIANTS)
    low, ratio, high = np.percentile(hybrid / plain, (25, 50, 75))
    print(
        f"{name:24}{np.median(plain):10.3f}{np.median(hybrid):10.3f}"
        f"{ratio:8.3f}   ({low:.3f} to {high:.3f})",
        flush=True,
    )


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--no-compile", action="store_true", help="leave AOTInductor out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as `culi-mlip md` and `culi-mlip train` do
    set_global_state()
    atoms = big_slab()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "data").mkdir()
        training_frames(folder / "data")
        for variant in VARIANTS:
            settings = TrainSettings(variant=variant, epochs=1, r_max=R_MAX)
            train(folder / "data", folder / variant, settings)
        print(f"{len(atoms)} atoms; s{'Allegro':>31}{'+QDI':>10}{'ratio':>8}")
        nequips = {v: load_saved_model(str(model_file(folder / v))) for v in VARIANTS}
        report("force call, nequip's", paired(warm(_forces(nequips, atoms)), arguments.turns))
        report("training step, nequip's", paired(warm(_steps(nequips, atoms)), arguments.turns))
        eager = {v: HybridAllegro(folder / v, compile=False) for v in VARIANTS}
        report("force call, eager", paired(warm(_calls(eager, atoms)), arguments.turns))
        if arguments.no_compile:
            return
        compiled = {v: HybridAllegro(folder / v, compile=True) for v in VARIANTS}
        report("force call, compiled", paired(warm(_calls(compiled, atoms)), arguments.turns))


def _calls(calculators: dict[str, HybridAllegro], atoms: Atoms) -> dict[str, Callable[[], None]]:
    def call(calculator: HybridAllegro) -> None:
        calculator.reset()
        calculator.get_forces(atoms)

    return {name: lambda c=c: call(c) for name, c in calculators.items()}


def _graph(atoms: Atoms) -> dict[str, torch.Tensor]:
    """The structure as nequip's models take it."""
    data = from_ase(atoms)
    for transform in (
        ChemicalSpeciesToAtomTypeMapper(model_type_names=["Cu", "Li"]),
        NeighborListTransform(r_max=R_MAX),
    ):
        data = transform(data)
    return data


def _forces(models: dict[str, torch.nn.Module], atoms: Atoms) -> dict[str, Callable[[], None]]:
    data = _graph(atoms)
    return {name: lambda m=model: m.eval()(dict(data)) for name, model in models.items()}


def _steps(models: dict[str, torch.nn.Module], atoms: Atoms) -> dict[str, Callable[[], None]]:
    """Forward, loss of forces, backward to all weights."""
    data = _graph(atoms)

    def step(model: torch.nn.Module) -> None:
        out = model.train()(dict(data))
        loss = out[AtomicDataDict.FORCE_KEY].square().mean()
        loss.backward()
        model.zero_grad()

    return {name: lambda m=model: step(m) for name, model in models.items()}


if __name__ == "__main__":
    main()
