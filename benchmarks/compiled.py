"""What each measure brings to a compiled model's call on the CPU, beside nequip-compile's.

    python benchmarks/compiled.py                      # some 10 minutes, most of them compiling

1,100 atoms of copper with lithium, an untrained model of the default size, float32, one thread. The
models take turns (A B C C B A); a ratio is the median of the turns' ratios, with quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from calculator import untrained
from hybrid import big_slab
from nequip.data import AtomicDataDict

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.compiled import Options
from culi_mlip.calculator.potential import Graph
from culi_mlip.models.files import model_file
from culi_mlip.process import keep_freed_memory

MEASURES: dict[str, tuple[bool, dict[str, object]]] = {
    "nequip's layers (nequip-compile)": (False, {}),
    "nequip's layers, weights frozen": (False, {"freezing": True}),
    "nequip's layers, 256 bits": (False, {"cpp.simdlen": 256}),
    "written out": (True, {}),
    "written out, weights frozen": (True, {"freezing": True}),
    "written out, 256 bits": (True, {"cpp.simdlen": 256}),
    "written out, frozen, 256 bits": (True, {"freezing": True, "cpp.simdlen": 256}),
}
"""By name: whether products are written out, and Inductor's options."""

BLOCKS = (8, 32, 128)
"""Atoms that the last model is given at a time, as a further measure."""

SCRIPT = """
import json, sys
from culi_mlip.calculator import compiled
written_out, options, job = json.loads(sys.argv[1])
if not written_out:
    compiled.unrolled = lambda model: model
compiled._cpu_options = lambda model: options
compiled.main(job)
"""


def compile_(run: Path, out: Path, written_out: bool, options: dict[str, object]) -> Path:
    """Compile a model by some of the measures, in a process of its own."""
    job = {"file": str(model_file(run)), "out": str(out), **Options("cpu")._asdict()}
    given = json.dumps([written_out, options, job])
    subprocess.run([sys.executable, "-c", SCRIPT, given], check=True, capture_output=True)
    return out


def in_blocks(calculator: HybridAllegro, atoms: Atoms, size: int) -> Callable[[], None]:
    """Calls of the model on so many atoms and their neighbours at a time."""
    graph = calculator.graph(atoms)
    centers, neighbors = graph[AtomicDataDict.EDGE_INDEX_KEY]
    blocks: list[Graph] = []
    for first in range(0, len(atoms), size):
        last = min(first + size, len(atoms))
        own = (centers >= first) & (centers < last)
        others, local = neighbors[own].unique(return_inverse=True)
        chosen = torch.cat([torch.arange(first, last), others])
        index = torch.stack([centers[own] - first, local + last - first])
        blocks.append(
            {
                **graph,
                AtomicDataDict.POSITIONS_KEY: graph[AtomicDataDict.POSITIONS_KEY][chosen],
                AtomicDataDict.ATOM_TYPE_KEY: graph[AtomicDataDict.ATOM_TYPE_KEY][chosen],
                AtomicDataDict.EDGE_INDEX_KEY: index,
                AtomicDataDict.EDGE_CELL_SHIFT_KEY: graph[AtomicDataDict.EDGE_CELL_SHIFT_KEY][own],
            }
        )
    return lambda: [calculator.model(dict(block)) for block in blocks] and None


def main() -> None:
    """Compile, time and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--variant", default="allegro")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    atoms = big_slab()
    with tempfile.TemporaryDirectory() as place:
        run = untrained(Path(place), arguments.variant)
        jobs: dict[str, Callable[[], None]] = {}
        forces: dict[str, np.ndarray] = {}
        for i, (name, measures) in enumerate(MEASURES.items()):
            file = compile_(run, Path(place, f"{i}.nequip.pt2"), *measures)
            calculator = HybridAllegro(file, device="cpu")
            graph = calculator.graph(atoms)
            forces[name] = calculator.model(dict(graph))[AtomicDataDict.FORCE_KEY].numpy()
            jobs[name] = lambda c=calculator, g=graph: c.model(dict(g)) and None
        for size in BLOCKS:
            jobs[f"the same, blocks of {size} atoms"] = in_blocks(calculator, atoms, size)
        seconds = np.zeros((arguments.turns, len(jobs)))
        for turn in range(arguments.turns):
            for i in (*range(len(jobs)), *reversed(range(len(jobs)))):
                start = time.perf_counter()
                [*jobs.values()][i]()
                seconds[turn, i] += (time.perf_counter() - start) / 2
    low, ratio, high = np.percentile(seconds / seconds[:, :1], (25, 50, 75), axis=0)
    print(f"{arguments.variant}, {len(atoms)} atoms, 1 thread; torch {torch.__version__}")
    print(f"{'':36}{'ms':>8}{'ratio':>8}{'quartiles':>18}{'forces differ by':>20}")
    first = next(iter(forces.values()))
    for i, name in enumerate(jobs):
        apart = f"{np.abs(forces[name] - first).max():.0e} eV/Å" if name in forces else ""
        print(
            f"{name:36}{1e3 * np.median(seconds[:, i]):8.1f}{ratio[i]:8.3f}"
            f"   ({low[i]:.3f} to {high[i]:.3f}){apart:>18}"
        )


if __name__ == "__main__":
    main()
