"""Time to build the paper's structures, beside pymatgen on the same input in the same run.

    python benchmarks/structures.py            # ours, and pymatgen where it ends within its limit

CPU seconds. pymatgen's slabs come from one SlabGenerator an index, its interfaces from
CoherentInterfaceBuilder at the tolerances that ours has; a pair that takes longer than the limit
is given up and counts as that long.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

from pymatgen.analysis.interfaces.coherent_interfaces import CoherentInterfaceBuilder
from pymatgen.analysis.interfaces.zsl import ZSLGenerator
from pymatgen.core.surface import SlabGenerator
from pymatgen.io.ase import AseAtomsAdaptor

from culi_mlip.structures import bulk, campaign, distinct_millers, interface, slab
from culi_mlip.structures.slabs import THICKNESS

MILLERS = distinct_millers(3)


def our_slab(symbol: str, miller: tuple[int, int, int]) -> int:
    """Number of atoms of our slab."""
    return len(slab(symbol, miller))


def their_slab(symbol: str, miller: tuple[int, int, int]) -> int:
    """Number of atoms of pymatgen's slab."""
    crystal = AseAtomsAdaptor.get_structure(bulk(symbol, cubic=True))
    generator = SlabGenerator(
        crystal, miller, THICKNESS[symbol], 30.0, center_slab=True, primitive=True
    )
    return len(generator.get_slab().get_orthogonal_c_slab())


def our_interface(miller: tuple[int, int, int]) -> float:
    """Area of our smallest interface in Å²."""
    return float(interface("Li", miller, "Cu", miller).info["area"])


def their_interface(miller: tuple[int, int, int]) -> float:
    """Area of pymatgen's smallest match in Å²."""
    crystals = {s: AseAtomsAdaptor.get_structure(bulk(s, cubic=True)) for s in ("Li", "Cu")}
    builder = CoherentInterfaceBuilder(
        film_structure=crystals["Li"],
        substrate_structure=crystals["Cu"],
        film_miller=miller,
        substrate_miller=miller,
        zslgen=ZSLGenerator(
            max_area_ratio_tol=0.09, max_area=400, max_length_tol=0.09, max_angle_tol=0.09
        ),
    )
    return float(min(match.match_area for match in builder.zsl_matches))


def timed(function: Callable, arguments: tuple, limit: float) -> tuple[float, str]:
    """CPU seconds and result of a call in a process of its own, given up after `limit` s."""
    queue = multiprocessing.Queue()

    def work() -> None:
        start = time.process_time()
        result = function(*arguments)
        queue.put((time.process_time() - start, f"{result:.4g}"))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        return limit, "not done"
    return queue.get() if process.exitcode == 0 else (limit, "failed")


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=float, default=30.0, help="seconds a call may take")
    limit = parser.parse_args().limit
    slabs = [(symbol, miller) for symbol in ("Cu", "Li") for miller in MILLERS]
    jobs = (
        ("slab", "atoms", slabs, our_slab, their_slab),
        ("interface", "area", [(miller,) for miller in MILLERS], our_interface, their_interface),
    )
    print(f"{'':28}{'ours':>10}{'pymatgen':>10}   result: ours, pymatgen")
    for name, what, inputs, ours, theirs in jobs:
        total = [0.0, 0.0]
        for arguments in inputs:
            rows = [timed(function, arguments, limit) for function in (ours, theirs)]
            total = [t + seconds for t, (seconds, _) in zip(total, rows, strict=True)]
            label = f"{name} {' '.join(map(str, arguments))}"
            seconds = "".join(f"{row[0]:10.3f}" for row in rows)
            print(f"{label:28}{seconds}   {what} {rows[0][1]}, {rows[1][1]}", flush=True)
        print(f"{'all ' + name + 's':28}{total[0]:10.3f}{total[1]:10.3f}")
    start, atoms = time.process_time(), 0
    count = 0
    for entry in campaign("paper"):
        count, atoms = count + 1, atoms + len(entry.atoms)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"campaign: {count} structures, {atoms} atoms in {time.process_time() - start:.1f} s, "
        f"{memory:.0f} MB (pymatgen's import included)"
    )


if __name__ == "__main__":
    main()
