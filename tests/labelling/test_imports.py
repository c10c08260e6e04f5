"""Labels that others computed enter a store once, under the engine that they are of."""

import gzip
import shutil

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from culi_mlip.configuration import parse
from culi_mlip.datasets import Store
from culi_mlip.datasets.frames import LabelKeys
from culi_mlip.errors import LabelError, SetupError
from culi_mlip.labelling import Recipe, build_dataset, import_frames, import_vasp
from culi_mlip.labelling.twins import Twins, same_order
from culi_mlip.reference import VaspSettings, get_engine
from culi_mlip.reference.cells import right_handed
from culi_mlip.reference.vasp_outputs import read_vasp
from culi_mlip.structures import Entry, bulk, rattled, slab
from tests.vasp_files import lithium, outcar, vasprun

PAPER = VaspSettings(kpoint_length=6.0)  # a mesh of 2×2×2 for two atoms of lithium


@pytest.fixture
def run(tmp_path):
    """Both outputs of a run of four steps."""
    frames = lithium(4)
    (tmp_path / "OUTCAR").write_text(outcar(frames))
    (tmp_path / "vasprun.xml").write_text(vasprun(frames))
    return [tmp_path / "OUTCAR", tmp_path / "vasprun.xml"]


def stored(folder):
    return list(Store(folder / "store.db").frames())


def test_accepted_frames_are_added_once_with_their_engine(run, tmp_path):
    (first,) = import_vasp(tmp_path / "data", run[:1], PAPER)
    (again,) = import_vasp(tmp_path / "data", run[:1], PAPER)
    assert (first.frames, first.labelled, first.added, first.known) == (4, 0, 4, 0)
    assert (again.frames, again.labelled, again.added, again.known) == (4, 0, 0, 4)
    store = Store(tmp_path / "data" / "store.db")
    assert store.digests() == {get_engine("vasp", PAPER).digest: 4}
    assert {a.get_potential_energy() for a in store.frames()} == {-4.7, -4.71, -4.72, -4.73}
    assert len({a.info["trajectory"] for a in store.frames()}) == 1
    assert not store.check()


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize("calls", [1, 2])
def test_one_run_by_both_outputs_enters_once(run, tmp_path, order, calls):
    """OUTCAR has five digits of a position, vasprun.xml eight."""
    files = run[order]
    outcomes = []
    for some in [files] if calls == 1 else [[file] for file in files]:
        outcomes += import_vasp(tmp_path / "data", some, PAPER)
    assert [(o.added, o.known) for o in outcomes] == [(4, 0), (0, 4)]
    assert len(stored(tmp_path / "data")) == 4


def test_rest_of_a_run_joins_the_part_that_is_there(run, tmp_path):
    """An OUTCAR that was cut, then the whole vasprun.xml: no split may part them."""
    text = run[0].read_text()
    run[0].write_text(text[: text.index("Iteration    3(")])
    cut, whole = import_vasp(tmp_path / "data", run, PAPER)
    assert (cut.added, whole.added, whole.known) == (2, 2, 2)
    frames = stored(tmp_path / "data")
    assert len({a.info["trajectory"] for a in frames}) == 1
    first = next(a for a in frames if a.get_potential_energy() == -4.7)
    assert [a.info.get("parent") for a in frames].count(first.info["uid"]) == 3


def test_labels_of_another_engine_stay_and_are_said(run, tmp_path):
    """A digest that no label has is not reported as if it had some."""
    frames = lithium(2)
    ase.io.write(tmp_path / "mine.extxyz", frames)
    import_frames(tmp_path / "data", [tmp_path / "mine.extxyz"], MINE)
    (outcome,) = import_vasp(tmp_path / "data", run[:1], PAPER)
    ours = get_engine("vasp", PAPER).digest
    assert (outcome.added, outcome.known) == (2, 2)
    assert (outcome.others, outcome.engines) == ((MINE.digest,), (ours,))
    run[0].write_text(outcar(frames))
    (outcome,) = import_vasp(tmp_path / "data", run[:1], PAPER)
    assert (outcome.known, outcome.others, outcome.engines) == (2, (MINE.digest,), ())
    assert Store(tmp_path / "data" / "store.db").digests() == {MINE.digest: 2, ours: 2}


def test_structures_without_a_kind_are_refused(run, tmp_path):
    with pytest.raises(LabelError, match="kind of the structures is empty"):
        import_vasp(tmp_path / "data", run[:1], PAPER, kind=" ")
    assert not (tmp_path / "data").exists()


def test_frames_that_are_the_same_within_a_file_enter_once(tmp_path):
    frames = lithium(2)
    (tmp_path / "OUTCAR").write_text(outcar([*frames, frames[0]]))
    (outcome,) = import_vasp(tmp_path / "data", [tmp_path / "OUTCAR"], PAPER)
    assert (outcome.frames, outcome.added, outcome.known) == (3, 2, 1)


def test_damaged_file_is_refused_and_the_others_read(run, tmp_path):
    damaged = tmp_path / "damaged.xml.gz"
    damaged.write_bytes(gzip.compress(run[1].read_bytes())[:-300] + bytes(300))
    first, second = import_vasp(tmp_path / "data", [damaged, run[1]], PAPER)
    assert "damaged.xml.gz is cut off or damaged" in first.reason
    assert (second.reason, second.added) == ("", 4)


def test_refused_file_makes_no_store_and_says_why(run, tmp_path):
    (outcome,) = import_vasp(tmp_path / "new", run[:1], VaspSettings())
    assert "has k-points 2×2×2, not 10×10×10" in outcome.reason
    assert not (tmp_path / "new").exists()


def test_other_settings_enter_under_a_digest_of_their_own(tmp_path):
    """The same by both outputs, another for each difference; what agrees is the settings' own."""
    written = {
        "asked": outcar(lithium(1, seed=1)),
        "OUTCAR": outcar(lithium(1, seed=2), {"ISMEAR": "-5", "ISPIN": "2", "NUPDOWN": "-1.0"}),
        "vasprun": vasprun(lithium(1, seed=3), {"ISMEAR": "-5", "ISPIN": "2", "NUPDOWN": "-1.00"}),
        "d3": vasprun(lithium(1, seed=4), {"IVDW": "12"}),
        "mesh": outcar(lithium(1, seed=5), mesh=(4, 4, 4)),
        "ml": outcar(lithium(1, seed=6), {"ML_LMLFF": "T"}),
    }
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    files = [tmp_path / name for name in written]
    refused = import_vasp(tmp_path / "new", files, PAPER)
    assert [bool(outcome.reason) for outcome in refused] == [False, *[True] * 5]
    outcomes = import_vasp(tmp_path / "data", files, PAPER, as_computed=True)
    digests = dict(zip(written, (outcome.engines for outcome in outcomes), strict=True))
    assert digests["asked"] == (get_engine("vasp", PAPER).digest,)
    assert digests["OUTCAR"] == digests["vasprun"]
    assert len({digests[name] for name in ("asked", "OUTCAR", "d3", "mesh")}) == 4
    assert "holds no labels of DFT: it has ML_LMLFF" in outcomes[-1].reason
    store = Store(tmp_path / "data" / "store.db")
    described = store.engines[digests["OUTCAR"][0]]
    assert described["settings"]["settings"] == {
        "functional": "r2scan",
        "potentials": ["PAW_PBE Li_sv 10Sep2004"],
        "kpoints": "length 6 Å",
        "charge": 0.0,
        "ENCUT": 520.0,
        "PREC": "A",
        "LASPH": True,
        "LREAL": False,
        "ISPIN": 2.0,
        "NUPDOWN": "-1",
        "ISMEAR": -5.0,
        "SIGMA": 0.1,
        "EDIFF": 1e-5,
    }
    engine = get_engine(described["name"], described["settings"])
    assert (engine.digest, engine.title, engine.is_dft) == (*digests["OUTCAR"], "VASP", True)


def test_real_output_enters_as_computed_alone(real_data, tmp_path):
    """ISMEAR −5, ISPIN 2, LREAL on and 6³ k-points are not the paper's."""
    files = sorted((real_data / "vasp").glob("*/*[RX.]*"))
    files = [file for file in files if "OUTCAR" in file.name or "vasprun" in file.name]
    assert len(files) == 6
    assert all(outcome.reason for outcome in import_vasp(tmp_path / "new", files, VaspSettings()))
    outcomes = import_vasp(tmp_path / "data", files, VaspSettings(), as_computed=True)
    assert [(o.added, o.known) for o in outcomes] == [
        (2, 0),
        (10, 0),
        (1, 0),
        (0, 1),
        (3, 0),
        (0, 3),
    ]
    assert len(Store(tmp_path / "data" / "store.db").digests()) == 4


def test_structure_that_waits_gets_its_label(run, tmp_path):
    store = Store(tmp_path / "data.db")
    (tmp_path / "data").mkdir()
    store = Store(tmp_path / "data" / "store.db")
    parent = Entry(rattled(read_vasp(run[0]).frames[0], 1e-5, seed=0), "bulk")
    store.add([parent])
    (outcome,) = import_vasp(tmp_path / "data", run[:1], PAPER)
    assert (outcome.labelled, outcome.added) == (1, 3)
    frames = stored(tmp_path / "data")
    (labelled,) = (a for a in frames if a.info["kind"] == "bulk")
    assert labelled.get_potential_energy() == -4.7
    assert [a.info.get("parent") for a in frames].count(parent.uid) == 3


def test_labels_reach_their_own_structures(run, tmp_path):
    """Three structures of one composition wait, in another order than the output's."""
    (tmp_path / "data").mkdir()
    store = Store(tmp_path / "data" / "store.db")
    told = lithium(4)
    store.add([Entry(told[n].copy(), f"step {n}") for n in (2, 0, 3)])
    (outcome,) = import_vasp(tmp_path / "data", run[:1], PAPER, kind="step 1")
    assert (outcome.labelled, outcome.added) == (3, 1)
    for atoms in stored(tmp_path / "data"):
        same = told[int(atoms.info["kind"][-1])]
        assert atoms.get_potential_energy() == pytest.approx(same.get_potential_energy())
        np.testing.assert_allclose(atoms.get_forces(), same.get_forces(), atol=1e-6)
        np.testing.assert_allclose(atoms.positions, same.positions, atol=1e-4)


def lih(order):
    atoms = Atoms("LiH", [[0.1, 0, 0], [2.0, 2.1, 2.2]], cell=[4.1] * 3, pbc=True)
    forces = np.array([[0.1, 0.2, 0.3], [-0.4, -0.5, -0.6]])
    atoms = atoms[order]
    atoms.calc = SinglePointCalculator(atoms, energy=-6.8, forces=forces[order], stress=np.zeros(6))
    return atoms


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_forces_follow_the_order_of_the_structure_that_waits(tmp_path, order):
    """VASP's POTCAR has lithium first; the structure may have hydrogen first."""
    (tmp_path / "data").mkdir()
    waiting = lih(order)
    waiting.calc = None
    waiting.positions[0] += waiting.cell[1]  # another image
    waiting.set_constraint(FixAtoms([0]))  # whose force counts all the same
    Store(tmp_path / "data" / "store.db").add([Entry(waiting, "bulk")])
    titles = ["PAW_PBE Li_sv 10Sep2004", "PAW_PBE H 15Jun2001"]
    (tmp_path / "OUTCAR").write_text(outcar([lih([0, 1])], titles=titles))
    (outcome,) = import_vasp(tmp_path / "data", [tmp_path / "OUTCAR"], PAPER)
    assert (outcome.labelled, outcome.added) == (1, 0)
    (frame,) = stored(tmp_path / "data")
    assert list(frame.symbols) == list(waiting.symbols)
    expected = {"Li": [0.1, 0.2, 0.3], "H": [-0.4, -0.5, -0.6]}
    for symbol, force in zip(frame.symbols, frame.get_forces(), strict=True):
        np.testing.assert_allclose(force, expected[symbol], atol=1e-6)


def test_twin_is_found_whatever_the_order_and_the_periodicity(tmp_path):
    structure = rattled(slab("Cu", (1, 0, 0), thickness=4), 0.05, seed=1)
    structure.symbols[0] = "Li"
    store = Store(tmp_path / "store.db")
    store.add([Entry(structure, "slab"), Entry(rattled(structure, 0.05, seed=2), "slab")])
    shuffled = structure[np.random.default_rng(0).permutation(len(structure))]
    shuffled.pbc = True
    shuffled.positions += shuffled.cell[0] - 2 * shuffled.cell[1]
    shuffled.positions += np.random.default_rng(1).uniform(-4e-4, 4e-4, shuffled.positions.shape)
    twin = Twins(store).find(shuffled)
    same = store.entry(twin.row_id).atoms
    assert not twin.engine
    assert same == structure
    np.testing.assert_array_equal(shuffled.numbers[twin.order], same.numbers)
    difference = shuffled.positions[twin.order] - same.positions
    difference -= same.cell[0] - 2 * same.cell[1]
    np.testing.assert_allclose(difference, 0, atol=1e-3)
    moved = shuffled.copy()
    moved.positions[0, 0] += 0.01
    assert Twins(store).find(moved) is None


def test_twin_is_found_in_the_cell_that_vasp_is_given(tmp_path):
    """VASP takes no left-handed cell: our input has its vectors reversed."""
    structure = rattled(bulk("Cu", cubic=True), 0.05, seed=1)
    structure.set_cell(structure.cell[[1, 0, 2]])
    store = Store(tmp_path / "store.db")
    store.add([Entry(structure, "bulk")])
    turned = right_handed(structure)
    assert turned.cell.handedness == 1
    assert Twins(store).find(turned).row_id == 1


@pytest.mark.parametrize("waits_first", [True, False])
def test_of_two_that_are_the_same_the_one_that_waits_is_found(tmp_path, waits_first):
    """Until it has its label, too."""
    (atoms,) = lithium(1)
    near = atoms.copy()
    near.positions[0, 0] += 3e-4
    done = Entry(atoms, "done", results=dict(atoms.calc.results))
    store = Store(tmp_path / "store.db")
    for entry in (Entry(near, "waiting"), done)[:: 1 if waits_first else -1]:
        store.add([entry], get_engine("emt"))
    twins = Twins(store)
    found = twins.find(atoms)
    assert (found.entry.kind, found.engine) == ("waiting", "")
    twins.label(found, "e0")
    engines = {"waiting": "e0", "done": get_engine("emt").digest}
    again = twins.find(atoms)
    assert again.engine == engines[again.entry.kind]


def test_what_is_not_the_same_structure():
    atoms = lithium(1)[0]
    strained, other, shorter = atoms.copy(), atoms.copy(), atoms[:1]
    strained.set_cell(atoms.cell * 1.001, scale_atoms=True)
    other.symbols[0] = "Cu"
    assert same_order(atoms, atoms) is not None
    for wrong in (strained, other, shorter):
        assert same_order(atoms, wrong) is None
    molecule = Atoms("H2", [[0, 0, 0], [0, 0, 0.75]])
    apart = Atoms("H2", [[0, 0, 0], [0, 0, 1.75]])
    assert same_order(molecule, molecule) is not None
    assert same_order(molecule, apart) is None


def test_steps_that_are_no_labels_are_counted(tmp_path):
    (tmp_path / "OUTCAR").write_text(outcar(lithium(3), iterations=[200, 12, 12]))
    (outcome,) = import_vasp(tmp_path / "data", [tmp_path / "OUTCAR"], PAPER)
    assert (outcome.frames, outcome.left_out) == (2, 1)
    frames = Store(tmp_path / "data" / "store.db")
    steps = sorted(frames.entry(row).how["step"] for row in (1, 2))
    assert steps == [2, 3]


def test_tags_that_an_output_does_not_show_are_named(tmp_path):
    text = outcar(lithium(1))
    lines = [line for line in text.splitlines() if "LASPH" not in line]
    (tmp_path / "OUTCAR").write_text("\n".join(lines))
    (outcome,) = import_vasp(tmp_path / "data", [tmp_path / "OUTCAR"], PAPER)
    assert outcome.note == "does not show LASPH: taken as asked for"
    shutil.rmtree(tmp_path / "data")


MINE = get_engine("imported", {"code": "FHI-aims", "is_dft": True, "settings": {"xc": "pbe"}})


@pytest.mark.parametrize("name", ["mine.extxyz", "mine.db", "mine.traj"])
def test_own_frames_enter_with_the_engine_that_is_named(tmp_path, name):
    frames = lithium(3)
    ase.io.write(tmp_path / name, frames)
    (outcome,) = import_frames(tmp_path / "data", [tmp_path / name], MINE, kind="mine")
    assert (outcome.frames, outcome.added, outcome.engines) == (3, 3, (MINE.digest,))
    store = Store(tmp_path / "data" / "store.db")
    found = sorted(store.frames(), key=lambda atoms: -atoms.get_potential_energy())
    for atoms, told in zip(frames, found, strict=True):
        assert told.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(told.get_forces(), atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(told.get_stress(), atoms.get_stress(), atol=1e-7)
        assert told.info["kind"] == "mine"
        assert not {"parent", "trajectory"} & set(told.info)
    (again,) = import_frames(tmp_path / "data", [tmp_path / name], MINE)
    assert (again.added, again.known) == (0, 3)
    assert get_engine("imported", store.engines[MINE.digest]["settings"]).digest == MINE.digest
    assert not store.check()


def test_no_more_labels_are_computed_of_a_code_that_is_elsewhere(tiny_recipe, tmp_path):
    """And no structure is marked as failed."""
    elsewhere = {"name": "imported", "settings": MINE.settings.model_dump()}
    recipe = parse(Recipe, tiny_recipe.model_dump() | {"engine": elsewhere}, "recipe")
    with pytest.raises(SetupError, match="labels of FHI-aims were computed elsewhere"):
        build_dataset(recipe, tmp_path / "data")
    assert (
        not list(tmp_path.glob("data/store.db"))
        or not Store(tmp_path / "data" / "store.db").failures()
    )


def test_labels_under_other_names_need_their_names(tmp_path):
    frames = lithium(2)
    for atoms in frames:
        results, atoms.calc = atoms.calc.results, None
        atoms.info |= {"REF_energy": results["energy"], "my_virial": -results["stress"] * 3.44**3}
        atoms.arrays["REF_forces"] = results["forces"]
    file = tmp_path / "named.extxyz"
    ase.io.write(file, frames)
    (refused,) = import_frames(tmp_path / "data", [file], MINE)
    assert "--energy-key REF_energy --forces-key REF_forces" in refused.reason
    keys = LabelKeys("REF_energy", "REF_forces", "my_virial")
    (outcome,) = import_frames(tmp_path / "data", [file], MINE, keys=keys)
    assert outcome.added == 2
    for told in stored(tmp_path / "data"):
        atoms = lithium(2)[round(-100 * told.get_potential_energy() - 470)]
        np.testing.assert_allclose(told.get_forces(), atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(told.get_stress(), atoms.get_stress(), atol=1e-7)


def test_energy_is_the_one_that_forces_are_derivatives_of(tmp_path):
    (atoms,) = lithium(1)
    atoms.calc.results["free_energy"] = -4.71
    ase.io.write(tmp_path / "both.extxyz", atoms)
    import_frames(tmp_path / "data", [tmp_path / "both.extxyz"], MINE)
    assert stored(tmp_path / "data")[0].get_potential_energy() == -4.71


def test_frames_of_one_trajectory_stay_together(tmp_path):
    ase.io.write(tmp_path / "md.extxyz", lithium(3))
    import_frames(tmp_path / "data", [tmp_path / "md.extxyz"], MINE, is_trajectory=True)
    frames = stored(tmp_path / "data")
    assert len({atoms.info["trajectory"] for atoms in frames}) == 1
    assert sorted("parent" in atoms.info for atoms in frames) == [False, True, True]


def test_where_each_frame_is_from_is_kept_and_files_are_counted(tmp_path, monkeypatch):
    """A file alone is no trajectory, whatever is said of it."""
    monkeypatch.chdir(tmp_path)
    told = []
    ase.io.write("one.extxyz", lithium(1, seed=1))
    ase.io.write("two.extxyz", lithium(2, seed=2))
    import_frames(
        "data",
        ["one.extxyz", "two.extxyz"],
        MINE,
        is_trajectory=True,
        progress=lambda *numbers: told.append(numbers),
    )
    assert told == [(1, 2), (2, 2)]
    store = Store(tmp_path / "data" / "store.db")
    one, two = str(tmp_path / "one.extxyz"), str(tmp_path / "two.extxyz")
    found = [store.entry(row_id) for row_id in (1, 2, 3)]
    assert [tuple(e.how.values()) for e in found] == [(one, 1), (two, 1), (two, 2)]
    assert [e.trajectory for e in found] == ["", two, two]
    assert [e.parent for e in found] == ["", "", found[1].uid]


def test_frames_of_an_export_keep_their_parents(tmp_path):
    frames = lithium(2)
    frames[1].info |= {"parent": "s0", "trajectory": "t0"}
    ase.io.write(tmp_path / "all.extxyz", frames)
    import_frames(tmp_path / "data", [tmp_path / "all.extxyz"], MINE)
    (kept,) = (a for a in stored(tmp_path / "data") if a.get_potential_energy() == -4.71)
    assert (kept.info["parent"], kept.info["trajectory"]) == ("s0", "t0")


def broken(key, value):
    frames = lithium(2)
    if key in ("symbols", "positions"):
        getattr(frames[1], key)[0] = value
    elif value is None:
        del frames[1].calc.results[key]
    else:
        frames[1].calc.results[key] = frames[1].calc.results[key] * value
    return frames


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("symbols", "X", "frame 1: X is no element"),
        ("positions", np.nan, "frame 1: the position of atom 0 is NaN"),
        ("energy", np.nan, "frame 1: the energy holds NaN"),
        ("forces", np.inf, "frame 1: the forces holds NaN"),
        ("stress", np.nan, "frame 1: the stress holds NaN"),
        ("energy", None, "frame 1: no label for energy"),
        ("forces", None, "frame 1: no label for forces"),
    ],
)
def test_a_file_with_a_wrong_frame_is_refused_and_the_others_read(tmp_path, key, value, words):
    ase.io.write(tmp_path / "a.extxyz", broken(key, value))
    ase.io.write(tmp_path / "b.extxyz", lithium(1))
    files = [tmp_path / "a.extxyz", tmp_path / "b.extxyz"]
    refused, accepted = import_frames(tmp_path / "data", files, MINE)
    assert words in refused.reason
    assert accepted.added == 1
    assert len(stored(tmp_path / "data")) == 1
