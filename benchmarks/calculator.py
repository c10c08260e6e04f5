"""An MD step of HybridAllegro beside nequip's calculator, on the CPU, in one run.

    python benchmarks/calculator.py                    # some 15 minutes; --sizes 200 for a look

Lithium on Cu(100), an untrained Allegro of the default size, float32, velocity Verlet, 300 K. Each
calculator runs in a process of its own, as a user's would, and these take turns (A B C C B A), and
the sizes with them, so that a machine that slows down slows down all. Ratios are medians of the
turns' ratios to the first line, with quartiles: nequip's calculator with the model of
``nequip-compile``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from hybrid import R_MAX, training_frames
from nequip.integrations.ase import NequIPCalculator

from culi_mlip.calculator import HybridAllegro
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import train
from culi_mlip.process import keep_freed_memory
from culi_mlip.structures import li_on_cu, slab


def lithium_on_copper(n_atoms: int) -> Atoms:
    """Return about so many atoms: seven or more layers of copper with two of lithium."""
    side = max(4, round((n_atoms / 11) ** 0.5))
    surface = slab("Cu", (1, 0, 0), thickness=14, free_layers=None)
    atoms = li_on_cu(surface, 2, repeat=(side, max(1, round(n_atoms / 11 / side)), 1))
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    return atoms


class Timed:
    """A model that counts the time of its calls."""

    def __init__(self, model: Callable) -> None:
        self.model, self.seconds = model, 0.0

    def __call__(self, graph: dict) -> dict:
        """Evaluate."""
        start = time.perf_counter()
        out = self.model(graph)
        self.seconds += time.perf_counter() - start
        return out


def nequips(model: Path, *, keep_memory: bool, compiled: bool = True) -> tuple[Calculator, object]:
    """Nequip's calculator, and what holds its model."""
    if keep_memory:
        keep_freed_memory()
    if compiled:
        calculator = NequIPCalculator.from_compiled_model(model, device="cpu")
    else:
        calculator = NequIPCalculator._from_saved_model(model / "checkpoints/best.ckpt")
    return calculator, calculator


def ours(model: Path, **options: Any) -> tuple[Calculator, object]:
    """HybridAllegro, and what holds its model."""
    calculator = HybridAllegro(model, device="cpu", **options)
    return calculator, calculator._members.first


CONTENDERS: dict[str, tuple[Callable, bool, dict[str, Any]]] = {
    "nequip, compiled": (nequips, True, {"keep_memory": False}),
    "nequip, compiled, freed memory kept": (nequips, True, {"keep_memory": True}),
    "nequip, eager": (nequips, False, {"keep_memory": False, "compiled": False}),
    "HybridAllegro, the same file": (ours, True, {}),
    "HybridAllegro, eager": (ours, False, {"compile": False}),
    "HybridAllegro, compiled": (ours, False, {"compile": True}),
}
"""By name: who opens, whether nequip's compiled file or the run folder, and how."""


def contender(name: str, model: Path, atoms: Atoms, threads: int, connection: Connection) -> None:
    """Run MD in a process of its own, so many steps at a time; answer with seconds a step."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    opened, _, options = CONTENDERS[name]
    atoms.calc, owner = opened(model, **options)
    owner.model = timed = Timed(owner.model)
    positions, momenta = atoms.positions.copy(), atoms.get_momenta()
    md = VelocityVerlet(atoms, 1.0 * units.fs)
    while steps := connection.recv():
        atoms.positions[:] = positions  # an untrained potential ruins a structure in the long run
        atoms.set_momenta(momenta)
        atoms.get_forces()  # not in the first step, which would have two evaluations
        timed.seconds, start = 0.0, time.perf_counter()
        md.run(steps)
        whole = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        connection.send((whole / steps, timed.seconds / steps, memory))


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 1000, 4000, 16000])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--variant", default="allegro")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--run", type=Path, help="a run folder, instead of an untrained model")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # stands in compiled code, too
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run = arguments.run or untrained(folder, arguments.variant)
        theirs = folder / "theirs.nequip.pt2"
        command = [str(Path(sys.executable).with_name("nequip-compile")), "checkpoints/best.ckpt"]
        command += [str(theirs), "--mode", "aotinductor", "--device", "cpu", "--target", "ase"]
        subprocess.run(command, cwd=run, check=True, capture_output=True)
        print(f"{arguments.threads} threads; torch {torch.__version__}")
        structures = [lithium_on_copper(size) for size in arguments.sizes]
        measure(structures, run, theirs, arguments.turns, arguments.threads, arguments.only)


def untrained(folder: Path, variant: str) -> Path:
    """Return a run folder of one epoch."""
    (folder / "data").mkdir()
    training_frames(folder / "data")
    settings = TrainSettings(variant=variant, epochs=1, r_max=R_MAX)
    return train(folder / "data", folder / "run", settings).folder


def measure(
    structures: list[Atoms], run: Path, theirs: Path, turns: int, threads: int, names: list[str]
) -> None:
    """Time all sizes, one after another in each turn, and print a table of each."""
    processes = multiprocessing.get_context("spawn")
    connections: dict[tuple[int, str], Connection] = {}
    for size, atoms in enumerate(structures):
        for name in names:
            _, takes_theirs, _ = CONTENDERS[name]
            here, there = processes.Pipe()
            arguments = (name, theirs if takes_theirs else run, atoms, threads, there)
            processes.Process(target=contender, args=arguments, daemon=True).start()
            there.close()  # so that one that fails is not waited for
            here.send(3)
            here.recv()  # one after another, also the first steps, and compiling
            connections[size, name] = here
    times = np.zeros((turns, len(structures), len(names), 3))
    for turn in range(turns):
        for size, atoms in enumerate(structures):
            for i in (*range(len(names)), *reversed(range(len(names)))):
                connections[size, names[i]].send(max(2, 4000 // len(atoms)))
                times[turn, size, i] += np.array(connections[size, names[i]].recv()) / 2
    for connection in connections.values():
        connection.send(0)
    per_atom = 1e6 * times[..., 0] / np.array([len(atoms) for atoms in structures])[:, None]
    for size, atoms in enumerate(structures):
        print_size(len(atoms), times[:, size], names)
        if size:
            growth = np.median(per_atom[:, size] / per_atom[:, size - 1], axis=0)
            told = ", ".join(f"{name} {x:.3f}" for name, x in zip(names, growth, strict=True))
            print(f"  of an atom's time at {len(structures[size - 1])} atoms: {told}")


def print_size(n_atoms: int, times: np.ndarray, names: list[str]) -> None:
    """Print the table of one size, from times of shape (turns, contenders, what is measured)."""
    low, ratio, high = np.percentile(times[..., 0] / times[:, :1, 0], (25, 50, 75), axis=0)
    whole, model, memory = np.median(times, axis=0).T
    print(
        f"{f'{n_atoms} atoms':38}{'ms/step':>9}{'ratio':>8}{'quartiles':>18}"
        f"{'not the model':>15}{'µs/atom':>9}{'MB':>7}"
    )
    for i, name in enumerate(names):
        print(
            f"  {name:36}{1e3 * whole[i]:9.2f}{ratio[i]:8.3f}   ({low[i]:.3f} to {high[i]:.3f})"
            f"{100 * (1 - model[i] / whole[i]):13.1f} %{1e6 * whole[i] / n_atoms:9.1f}"
            f"{memory[i]:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
