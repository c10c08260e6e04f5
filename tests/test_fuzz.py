"""Damaged files: one sentence each, whatever was cut off or changed in them."""

import contextlib
import gzip
import io
import random
import shutil
import signal
from functools import partial

import ase.io
import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from culi_mlip.cli import main
from culi_mlip.datasets import Store
from culi_mlip.errors import CuliError
from culi_mlip.files import read_arrays, read_frames
from culi_mlip.labelling import load_recipe
from culi_mlip.models.settings import load_settings
from culi_mlip.records import Record
from culi_mlip.reference import get_engine
from culi_mlip.runs import is_finished, run_folder
from culi_mlip.structures import Entry, bulk, rattled
from tests.conftest import TINY_RECIPE

WRITTEN = {
    "cell.extxyz": {},
    "cell.xyz": {"format": "xyz"},
    "cell.cif": {},
    "cell.vasp": {},
    "POSCAR": {"format": "vasp"},
    "cell.traj": {},
    "cell.json": {},
    "cell.db": {},
}
"""Files of structures, and how ASE writes them."""

HANG = 20
"""Seconds of CPU after which a reader hangs."""


def frames(n=2):
    """Copper and gold with labels and velocities, a little out of place."""
    for seed in range(n):
        atoms = rattled(bulk("Cu", cubic=True), 0.05, seed=seed)
        atoms.symbols[0] = "Au"
        atoms.set_momenta(np.full((4, 3), 0.5))
        atoms.calc = EMT()
        labels = {
            key: atoms.calc.get_property(key, atoms) for key in ("energy", "forces", "stress")
        }
        atoms.calc = SinglePointCalculator(atoms, **labels)
        yield atoms


class Job(Record):
    """The inputs of a run folder."""

    seed: int
    name: str


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A sound file of each format, by name."""
    folder = tmp_path_factory.mktemp("sound")
    for name, options in WRITTEN.items():
        several = name.endswith(("xyz", "traj", "json", "db"))
        ase.io.write(folder / name, list(frames()) if several else next(frames()), **options)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(TINY_RECIPE | {"seed": 3}))
    (folder / "settings.yaml").write_text("epochs: 3\nloss: {energy: 1.0, forces: 10.0}\n")
    with run_folder(folder / "run", "test", Job(seed=1, name="a")):
        np.savez(folder / "state.npz", positions=np.ones((4, 3)), step=7)
    shutil.move(folder / "run" / "run.yaml", folder)
    store = Store(folder / "store.db")
    store.add([Entry(atoms, "bulk", results=atoms.calc.results) for atoms in frames()],
              get_engine("emt"))  # fmt: skip
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


LIKELY = b'0123456789-.eE nainNAI\n"{}[]:'
"""Bytes that change what a file says more often than they make it unreadable."""


def damaged(content, seed):
    """Contents that are cut off somewhere, or have other bytes in 1 to 3, or 200, places."""
    rng = random.Random(seed)
    if seed % 2:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 2, 3, 200])):
        value = rng.choice(LIKELY) if rng.random() < 0.7 else rng.randrange(256)
        changed[rng.randrange(len(content))] = value
    return bytes(changed)


def check(content, read):
    """Let a reader read contents: it returns in time, or raises a `CuliError`."""

    def hang(*_):
        pytest.fail(f"no answer within {HANG} s of CPU")

    before = signal.signal(signal.SIGVTALRM, hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG)
    try:
        with contextlib.suppress(CuliError):
            read(content)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def check_many(content, read, n):
    """Let a reader read n damaged contents; Hypothesis looks for the simplest that fails."""

    @settings(max_examples=n, derandomize=True, database=None, deadline=None)
    @given(st.integers(0, 1 << 32))
    def run(seed):
        check(damaged(content, seed), read)

    run()


def read_as(path, reader, content):
    """Put contents in a file's place, and read it."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return reader(path)


def finite_frames(path):
    for atoms in read_frames(path):
        assert np.isfinite(atoms.positions).all()
        assert np.isfinite(atoms.cell.array).all()


def whole_store(path):
    """Read all of a store, as ``dataset status --check`` does."""
    store = Store(path)
    for read in (store.counts, store.hosts, store.failures, store.notes, store.check):
        read()
    assert all(np.isfinite(atoms.get_potential_energy()) for atoms in store.frames())


READERS = {
    **dict.fromkeys(WRITTEN, finite_frames),
    "recipe.yaml": load_recipe,
    "settings.yaml": lambda path: load_settings(path, {}),
    "run.yaml": lambda path: is_finished(path.parent, Job(seed=1, name="a")),
    "state.npz": lambda path: read_arrays(path, "positions", "step"),
    "store.db": whole_store,
}


@pytest.mark.parametrize("name", READERS)
def test_readers_survive_a_little_damage(samples, tmp_path, name):
    read_as(tmp_path / name, READERS[name], samples[name])  # sound, it is read
    for seed in range(20):
        check(damaged(samples[name], seed), partial(read_as, tmp_path / name, READERS[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_readers_survive_much_damage(samples, tmp_path, name):
    check_many(samples[name], partial(read_as, tmp_path / name, READERS[name]), 400)


def command(*arguments):
    """Run a command in this process; its error is one line and code 2, which is returned."""
    out, err = io.StringIO(), io.StringIO()
    caught = pytest.raises(SystemExit)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), caught as end:
        main([str(argument) for argument in arguments])
    assert end.value.code in (0, 2), err.getvalue()
    if end.value.code:
        assert err.getvalue().splitlines()[-1].startswith("Error: ")
    return end.value.code


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["cell.extxyz", "cell.cif", "POSCAR", "cell.traj", "cell.db"])
def test_commands_survive_damaged_structures(samples, tmp_path, name):
    path = tmp_path / name

    def run(_):
        return (
            command("structures", "show", path, "--out", tmp_path / "sheet.png"),
            command("dataset", "audit", path, "--out", tmp_path / "audit"),
        )

    assert read_as(path, run, samples[name]) == (0, 0)  # sound, it is drawn and audited
    check_many(samples[name], partial(read_as, path, run), 60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["vasprun.xml", "OUTCAR"])
def test_labels_of_damaged_outputs_are_finite_or_refused(real_data, tmp_path, name):
    """Of a real relaxation; what enters the store can be read back, and is finite."""
    file = real_data / "vasp" / "pymatgen_Li_PBE_relax" / name
    packed = file.with_name(f"{name}.gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else file.read_bytes()
    (tmp_path / "pbe.yaml").write_text("functional: pbe\n")

    data = tmp_path / "data"
    accepted = []

    def run(path):
        shutil.rmtree(data, ignore_errors=True)
        command("label", "add", data, "--vasprun", path, "--as-computed",
                "--settings", tmp_path / "pbe.yaml")  # fmt: skip
        if (data / "store.db").exists():
            whole_store(data / "store.db")
            assert not Store(data / "store.db").check()
            accepted.append(path)

    read_as(tmp_path / name, run, content)
    assert accepted, "the sound file is refused"
    check_many(content, partial(read_as, tmp_path / name, run), 200)
    assert len(accepted) > 5, "damage that changes little is refused too"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suffix", [".ckpt", ".nequip.zip", ".nequip.pt2"])
def test_damaged_models_are_refused(trained, tmp_path, suffix):
    """A checkpoint that is cut or changed, also where its name says that it is something else."""
    from culi_mlip.calculator import HybridAllegro

    content = (trained["allegro"] / "checkpoints" / "best.ckpt").read_bytes()
    path = tmp_path / f"model{suffix}"
    check_many(content, partial(read_as, path, lambda file: HybridAllegro(file, device="cpu")), 60)
