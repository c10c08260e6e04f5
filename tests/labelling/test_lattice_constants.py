"""Lattice constants of datasets: the engine's own, found once, kept, or the recipe's."""

import json

import numpy as np
import pytest
from scipy.optimize import brentq

from culi_mlip.configuration import parse
from culi_mlip.datasets import Store
from culi_mlip.datasets.lattice_constants import FILE
from culi_mlip.errors import CuliError, EngineError, RecipeError, StructureError
from culi_mlip.labelling import Recipe, Workers, build_dataset, preview
from culi_mlip.labelling.lattice_constants import find_lattice_constants
from culi_mlip.reference import get_engine
from culi_mlip.structures import bulk, campaign
from culi_mlip.structures.parts import Campaign

NICKEL = {"kind": "bulk", "symbol": "Ni", "repeat": [1, 1, 1], "strains": [-0.02, 0.0, 0.02]}


def recipe(*parts, engine="emt", **more):
    return parse(Recipe, {"structures": parts, "engine": {"name": engine}, **more}, "test")


def zero_pressure(symbol, guess):
    """Lattice constant at which EMT's stress vanishes: no equation of state."""
    calculator = get_engine("emt").calculator()

    def stress(a):
        atoms = bulk(symbol, a=a)
        atoms.calc = calculator
        return atoms.get_stress()[0]

    return brentq(stress, 0.95 * guess, 1.05 * guess)


def constant(frames):
    """Cubic lattice constants of one-atom fcc cells, sorted."""
    return sorted((4 * atoms.get_volume()) ** (1 / 3) for atoms in frames)


def test_an_engines_own_is_where_its_stress_vanishes_whatever_the_start():
    for symbol, guess in (("Ni", 3.52), ("Cu", 3.61), ("Au", 4.08), ("Al", 4.05)):
        found = get_engine("emt").lattice_constant(symbol)
        assert found == pytest.approx(zero_pressure(symbol, guess), abs=1e-3), symbol


def test_a_dataset_is_built_at_the_engines_own_found_once(tmp_path, monkeypatch):
    a = zero_pressure("Ni", 3.52)
    folder = build_dataset(recipe(NICKEL), tmp_path / "d").folder
    frames = list(Store(folder / "store.db").frames())
    assert constant(frames) == pytest.approx([0.98 * a, a, 1.02 * a], abs=1e-3)
    kept = json.loads((folder / FILE).read_text())["Ni"]
    assert kept["a"] == pytest.approx(a, abs=1e-3)
    assert "equation of state" in kept["source"]
    card = (folder / "card.md").read_text()
    assert f"Lattice constants: Ni {kept['a']:.3f} Å (ASE's effective medium theory" in card
    monkeypatch.setattr("culi_mlip.labelling.lattice_constants.equilibrium", None)  # not again
    again = build_dataset(recipe(NICKEL), folder).card.lattice_constants
    assert again["Ni"].model_dump() == kept
    assert len(Store(folder / "store.db")) == 3


def test_progress_is_counted_in_elements(tmp_path):
    told = []
    parts = [{"kind": "bulk", "symbol": s, "repeat": [1, 1, 1]} for s in ("Cu", "Li")]
    found = find_lattice_constants(
        recipe(*parts, engine="vasp", lattice_constants={"Li": 3.5}),
        get_engine("vasp"),
        tmp_path,
        progress=lambda *numbers: told.append(numbers),
    )
    assert told == [(1, 1)]
    assert found.lattice_constants == {"Cu": 3.577, "Li": 3.5}
    source = json.loads((tmp_path / FILE).read_text())["Cu"]["source"]
    assert source.startswith("VASP: MatPES, r2SCAN by VASP")


@pytest.mark.slow
def test_processes_find_the_same(tmp_path):
    tmp_path = tmp_path / "d"
    tmp_path.mkdir()
    found = find_lattice_constants(
        recipe(NICKEL), get_engine("emt"), tmp_path, workers=Workers("processes", 1)
    )
    assert found.lattice_constants["Ni"] == get_engine("emt").lattice_constant("Ni")


def test_the_recipes_numbers_go_first_and_nothing_is_computed(tmp_path):
    own = NICKEL | {"a": 3.6}
    built = build_dataset(recipe(NICKEL, own, lattice_constants={"Ni": 3.5}), tmp_path / "d")
    middle = constant(Store(built.folder / "store.db").frames())
    assert middle == pytest.approx(sorted(a * s for a in (3.5, 3.6) for s in (0.98, 1, 1.02)))
    assert not (built.folder / FILE).exists()
    with pytest.raises(CuliError, match="another job .*other lattice_constants"):
        build_dataset(recipe(NICKEL, own, lattice_constants={"Ni": 3.4}), built.folder)


@pytest.mark.parametrize(
    ("part", "symbols"),
    [
        ({"kind": "slab", "symbol": "Cu"}, ["Cu"]),
        ({"kind": "adatom", "symbol": "Cu", "adatom": "Li"}, ["Cu"]),
        ({"kind": "vacancy", "symbol": "Cu", "a": 3.6}, []),
        ({"kind": "adlayer", "symbol": "Cu", "coverages": [0.5, 1.0]}, ["Cu"]),
        ({"kind": "adlayer", "symbol": "Cu", "coverages": [0.5, 2.0]}, ["Cu", "Li"]),
        ({"kind": "interface", "film": "Li", "substrate": "Cu"}, ["Li", "Cu"]),
        ({"kind": "interface", "film": "Li", "substrate": "Cu", "film_a": 3.4}, ["Cu"]),
    ],
)
def test_what_a_recipe_leaves_to_its_engine(part, symbols):
    assert recipe(part).open_lattices == symbols
    assert recipe(part, lattice_constants={"Cu": 3.6, "Li": 3.5}).open_lattices == []


def test_every_kind_is_built_at_the_recipes_numbers():
    """Nearest neighbours in the middle of each side tell its lattice constant."""
    thin = {"thickness": 6, "free_layers": None, "vacuum": 6}
    parts = [
        {"kind": kind, "symbol": "Cu", "millers": [[1, 0, 0]], **thin, **more}
        for kind, more in (
            ("slab", {}),
            ("vacancy", {}),
            ("adatom", {"adatom": "Li"}),
            ("adlayer", {"coverages": [3]}),
        )
    ]
    sides = {"film_thickness": 6, "substrate_thickness": 6, "pairs": [[[1, 0, 0], [1, 0, 0]]]}
    parts.append({"kind": "interface", "film": "Li", "substrate": "Cu", **sides})
    a = {"Cu": 3.7, "Li": 3.55}
    for entry in campaign(recipe(*parts, lattice_constants=a)):
        copper = entry.atoms[entry.atoms.symbols == "Cu"]
        spacing = np.diff(np.unique(copper.positions[:, 2].round(6)))
        assert spacing == pytest.approx(3.7 / 2), entry.kind
        lithium = np.unique(entry.atoms.positions[entry.atoms.symbols == "Li", 2].round(6))
        if entry.kind == "interface":
            assert np.diff(lithium) == pytest.approx(3.55 / 2)
        if entry.kind == "adlayer":  # three layers of bulk density on a cell of Cu(100)
            assert np.diff(lithium) == pytest.approx((3.55**3 / 2) / (3.7**2 / 2))


@pytest.mark.parametrize(
    ("engine", "settings", "values"),
    [
        ("chgnet", {}, {"Cu": 3.578, "Li": 3.414}),
        ("gpaw", {}, {"Cu": 3.591, "Li": 3.484}),
        ("vasp", {}, {"Cu": 3.577, "Li": 3.463}),
    ],
)
def test_a_dry_run_takes_what_is_known_of_the_engine(tmp_path, engine, settings, values):
    parts = [{"kind": "bulk", "symbol": s, "repeat": [1, 1, 1]} for s in values]
    found = preview(recipe(*parts, engine=engine), tmp_path)
    assert {s: c["a"] for s, c in found.lattice_constants.items()} == values
    for entry, (symbol, a) in zip(found.examples, values.items(), strict=True):
        per_cube = {"Cu": 4, "Li": 2}[symbol]
        assert (per_cube * entry.atoms.get_volume()) ** (1 / 3) == pytest.approx(a)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("engine", "settings"),
    [("gpaw", {"cutoff": 400}), ("vasp", {"functional": "pbe"}), ("emt", {})],
)
def test_a_dry_run_computes_nothing_and_says_what_is_preliminary(tmp_path, engine, settings):
    part = {"kind": "bulk", "symbol": "Cu", "repeat": [1, 1, 1]}
    chosen = {"engine": {"name": engine, "settings": settings}}
    found = preview(parse(Recipe, {"structures": [part], **chosen}, "test"), tmp_path)
    assert found.lattice_constants["Cu"]["a"] == 3.61  # experiment
    assert "until" in found.lattice_constants["Cu"]["source"]


def test_a_dry_run_beside_a_dataset_takes_what_was_found(tmp_path):
    (tmp_path / FILE).write_text('{"Ni": {"a": 3.5, "source": "kept"}}')
    assert preview(recipe(NICKEL), tmp_path).lattice_constants["Ni"]["a"] == 3.5


def test_an_engine_that_knows_no_element_asks_for_the_number(tmp_path):
    lithium = {"kind": "slab", "symbol": "Li", "millers": [[1, 0, 0]]}
    with pytest.raises(EngineError, match=r"'emt' .* of Li .*: give it .*lattice_constants: \{Li"):
        build_dataset(recipe(lithium), tmp_path / "d")
    with pytest.raises(EngineError, match="'emt' .* of Li .*No EMT-potential"):
        get_engine("emt").lattice_constant("Li")
    flat = {"calculator": "ase.calculators.lj.LennardJones", "arguments": {"epsilon": 0.0}}
    with pytest.raises(EngineError, match="no minimum"):
        get_engine("ase", flat).lattice_constant("Cu")


def test_what_was_advised_goes_on_in_the_same_folder(tmp_path):
    """Nothing was built there yet: another engine, or the number, makes no other job of it."""
    part = {"kind": "bulk", "symbol": "Cu", "strains": [0.0, 0.01, 0.02]}
    flat = {"calculator": "ase.calculators.lj.LennardJones", "arguments": {"epsilon": 0.0}}

    def built(folder, engine, **more):
        values = {"structures": [part], "engine": engine, "split": {"by": "frame"}, **more}
        build_dataset(parse(Recipe, values, "test"), tmp_path / folder)
        return len(Store(tmp_path / folder / "store.db"))

    without = {"name": "ase", "settings": flat}
    for folder in ("number", "engine"):
        with pytest.raises(EngineError, match="no minimum"):
            built(folder, without)
    assert built("number", without, lattice_constants={"Cu": 3.6}) == 3
    assert built("engine", {"name": "emt"}) == 3
    with pytest.raises(CuliError, match="another job .*other engine"):
        built("engine", without)


def test_wrong_numbers_and_recipes_read_alone(tmp_path):
    for wrong in ({"CU": 3.6}, {"Cu": -3.6}, {"Cu": float("nan")}, {"Cu": 0.5}):
        with pytest.raises(RecipeError, match="lattice_constants"):
            parse(Campaign, {"structures": [NICKEL], "lattice_constants": wrong}, "test")
    file = tmp_path / "r.yaml"
    file.write_text("structures: [{kind: bulk, symbol: Cu}]\nengine: {name: gpaw}")
    with pytest.raises(StructureError, match="lattice constants of Cu to engine 'gpaw'"):
        list(campaign(file))
    file.write_text(file.read_text() + "\nlattice_constants: {Cu: 3.591}")
    assert len(list(campaign(file))) == 1
