"""What 26 relaxed surface energies cost beside the bare force calls that they need.

Both metals, 13 faces each, three slabs a face. All evaluations of a first run are kept; then the
whole computation and those bare calls, one structure after the other, take turns.

    python benchmarks/surfaces.py quickstart/run [--turns 3] [--threads 1 2] [--compile]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import torch
from ase import Atoms
from ase.calculators.calculator import all_changes

from culi_mlip.calculator import HybridAllegro
from culi_mlip.files import write_json
from culi_mlip.properties import equation_of_state, surface_energies
from culi_mlip.structures import distinct_millers

RESULTS = Path(__file__).parent / "results" / "surfaces.json"


class Recorded(HybridAllegro):
    """Keeps what it is asked for, by structure."""

    kept: dict[tuple[int, int], list[Atoms]]

    def batches(self, skin=None):
        """Return what evaluates and keeps; see `HybridAllegro.batches`."""
        evaluate, call = super().batches(skin), len(self.calls)
        self.calls.append(call)

        def recording(frames):
            for key, atoms in frames.items():
                self.kept[call, key].append(atoms.copy())
            return evaluate(frames)

        recording.atoms_at_once = evaluate.atoms_at_once
        return recording


def main() -> None:
    """Measure, print and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model")
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments.add_argument("--compile", action="store_true")
    given = arguments.parse_args()
    results = []
    for threads in given.threads:
        torch.set_num_threads(threads)
        results.append(measured(given))
        print(results[-1])
    write_json(RESULTS, results)


def measured(given: argparse.Namespace) -> dict[str, object]:
    """Return times and their ratio."""
    calculator = HybridAllegro(given.model, compile=given.compile)
    lengths = {s: equation_of_state(s, calculator).lattice_constant for s in ("Cu", "Li")}
    recorder = Recorded(given.model, compile=given.compile)
    recorder.kept, recorder.calls = defaultdict(list), []
    found = computed(recorder, lengths)
    withheld = [f"{f.symbol}{f.miller}: {f.withheld}" for f in found if f.withheld]
    n_calls = sum(map(len, recorder.kept.values()))
    ours, bare = [], []
    for _ in range(given.turns):
        ours.append(timed(lambda: computed(calculator, lengths)))
        bare.append(timed(lambda: called(calculator, recorder.kept)))
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return {
        "threads": torch.get_num_threads(),
        "compiled": calculator.is_compiled,
        "force_calls": n_calls,
        "seconds": ours,
        "bare_seconds": bare,
        "ratio": median(ratios),
        "withheld": withheld,
    }


def computed(calculator, lengths):
    """Return the 26 surface energies."""
    return [
        energy
        for symbol, a in lengths.items()
        for energy in surface_energies(symbol, distinct_millers(), calculator, a=a)
    ]


def called(calculator, kept) -> None:
    """Evaluate every structure again, by itself."""
    for frames in kept.values():
        for atoms in frames:
            calculator.calculate(atoms, ["energy", "forces"], all_changes)


def timed(work) -> float:
    """Return the seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
