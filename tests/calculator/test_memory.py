"""How large a structure can be, beside what the system counts, and what is said beyond."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from culi_mlip.calculator import HybridAllegro, memory
from culi_mlip.errors import ModelError

MEASURED = """
import json, sys
from ase.build import bulk
from culi_mlip.calculator import HybridAllegro, memory, potential

def peak():
    return 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

calculator = HybridAllegro(sys.argv[1], device="cpu", compile=False, skin=0)
calculator._members.first._is_local = sys.argv[2] == "in parts"
small, large = bulk("Cu", cubic=True) * 3, bulk("Cu", cubic=True) * 9
graph = calculator.graph(large)
small.calc = calculator
small.get_forces()
before = peak()
calculator._members(graph)
taken = peak() - before
memory._free = lambda device: 10**12
print(json.dumps([taken, 10**12 / calculator.largest(small), len(large)]))
"""

TOO_LARGE = """
import resource, sys
from ase.build import bulk
from culi_mlip.calculator import HybridAllegro

calculator = HybridAllegro(
    sys.argv[1], device="cpu", compile=False, skin=0, keep_memory=sys.argv[2] == "kept"
)
calculator._members.first._is_local = False
small, large = bulk("Cu", cubic=True) * 3, bulk("Cu", cubic=True) * 12
for atoms in (small, large):
    atoms.calc = calculator
small.get_forces()
now = 1024 * int(open("/proc/self/status").read().split("VmSize:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, now + 2**28))
large.get_forces()
"""


PAIRS = 42
"""Of an atom of copper (a = 3.61 Å) within 5 Å."""


def script(text, *arguments):
    return subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_call_is_what_the_system_counts(trained):
    def measured(way):
        done = script(MEASURED, trained["qdi"], way)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    taken, of_an_atom, n_atoms = measured("at once")
    # The allocator wastes some.
    assert 0.7 * taken < of_an_atom * n_atoms < 1.05 * taken
    in_parts, of_an_atom_in_parts, _ = measured("in parts")
    assert in_parts < 0.3 * taken
    assert of_an_atom_in_parts < of_an_atom


def test_estimates_do_not_depend_on_the_structures_size(trained, monkeypatch):
    monkeypatch.setattr(memory, "_free", lambda device: 10**10)
    calculator = HybridAllegro(trained["qdi"], device="cpu", compile=False)
    in_parts = [calculator.largest(bulk("Cu", cubic=True) * n) for n in (2, 4)]
    np.testing.assert_allclose(in_parts, 10**10 / memory.BYTES_OF_A_PAIR / PAIRS, rtol=1e-6)
    calculator._members.first._is_local = False  # as on a GPU
    found = [calculator.largest(bulk("Cu", cubic=True) * n) for n in (2, 4, 8)]
    np.testing.assert_allclose(found, found[0], rtol=0.05)
    thin = calculator.largest(bulk("Cu", a=4.2, cubic=True) * 4)
    assert thin > 1.5 * found[0]  # fewer pairs an atom
    with pytest.raises(ModelError, match="Cu has no pairs"):
        calculator.largest(Atoms("Cu"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits address space")
@pytest.mark.parametrize("memory", ["kept", "returned"])
def test_what_is_too_large_is_told_with_what_fits(trained, memory):
    done = script(TOO_LARGE, trained["qdi"], memory)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert "ModelError: 6,912 atoms with" in message
    # Where the process keeps what it freed, there may be none left to measure with.
    found = re.search(r"need more memory than cpu has: (about [\d,]+|fewer) atoms like", message)
    assert found
    assert found[1] != "fewer" or memory == "kept"
