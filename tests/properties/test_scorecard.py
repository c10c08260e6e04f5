"""The scorecard: values of the library, published ones beside them, killed and gone on with."""

import csv

import pytest
from ase.calculators.emt import EMT

from culi_mlip import properties
from culi_mlip.errors import CuliError
from culi_mlip.properties import scorecard as module
from culi_mlip.properties.scorecard import Score, references, scorecard
from culi_mlip.report.scorecard import page


@pytest.fixture(scope="module")
def quick():
    """Only what takes little time: no vacancies, three faces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "distinct_millers", lambda: [(1, 1, 1), (1, 0, 0)])
        for name in ("vacancy", "hop", "missing_row", "convex_hull", "adsorption", "phonons"):
            patch.setattr(module, name, lambda *a, **k: left_out())
        yield


def left_out():
    raise CuliError("left out")


@pytest.fixture(scope="module")
def card(quick, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    return folder, scorecard(EMT(), folder, reference="experiment")


def test_values_are_those_of_the_library(card):
    _, scores = card
    found = {score.quantity: score.value for score in scores}
    state = properties.equation_of_state("Cu", EMT())
    assert found["Cu lattice constant"] == pytest.approx(state.lattice_constant)
    assert found["Cu bulk modulus"] == pytest.approx(state.bulk_modulus)
    tensor = properties.elastic_constants("Cu", EMT()).tensor
    assert found["Cu C12"] == pytest.approx(tensor[0, 1], rel=1e-4)
    assert found["Cu C44"] == pytest.approx(tensor[3, 3], rel=1e-4)
    energy = properties.surface_energy("Cu", (1, 0, 0), EMT()).relaxed
    assert found["Cu(100) surface energy"] == pytest.approx(energy, rel=1e-4)


def test_references_stand_beside_values(card):
    folder, scores = card
    by_name = {score.quantity: score for score in scores}
    bulk = by_name["Cu bulk modulus"]
    assert (bulk.reference.value, bulk.reference.kind) == (144.3, "experiment")
    assert bulk.deviation == pytest.approx(bulk.value / 144.3 - 1)
    rows = list(csv.DictReader((folder / "card.csv").open()))
    assert [row["quantity"] for row in rows] == [score.quantity for score in scores]
    row = next(row for row in rows if row["quantity"] == "Cu bulk modulus")
    assert float(row["value"]) == pytest.approx(bulk.value, rel=1e-5)
    assert float(row["deviation"]) == pytest.approx(bulk.deviation, abs=1e-4)
    assert "DeltaCodes" in row["source"]


def test_the_spread_of_a_committee_is_the_error(quick, tmp_path):
    """Of two potentials that bind more weakly and more strongly than their mean."""
    members = [Scaled(0.9), Scaled(1.1)]
    scores = {s.quantity: s for s in scorecard(Scaled(1.0), tmp_path, members=members)}
    modulus = scores["Cu bulk modulus"]
    assert modulus.error == pytest.approx(0.2 * modulus.value / 2**0.5, rel=1e-3)
    assert scores["Cu lattice constant"].error == pytest.approx(0, abs=1e-5)
    assert scores["eos-Li"].error is None
    rows = {row["quantity"]: row for row in csv.DictReader((tmp_path / "card.csv").open())}
    assert float(rows["Cu bulk modulus"]["error"]) == pytest.approx(modulus.error, rel=0.01)
    assert rows["eos-Li"]["error"] == ""
    assert (tmp_path / "member-1/values.json").exists()
    assert f"± {modulus.error:.2g} GPa" in page(list(scores.values()), "m")
    with pytest.raises(CuliError):  # of other members
        scorecard(Scaled(1.0), tmp_path, members=members[:1])


class Scaled(EMT):
    """EMT with energies, forces and stress times a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        for name, value in self.results.items():
            self.results[name] = value * self.factor


def test_what_a_potential_does_not_know_is_withheld(card):
    _, scores = card
    lithium = next(score for score in scores if score.quantity == "eos-Li")
    assert lithium.value is None
    assert "No EMT-potential for Li" in lithium.withheld
    assert next(s for s in scores if s.quantity == "vacancy-Cu").withheld == "left out"


def test_references_have_units_and_sources():
    for kind in ("pbe", "gpaw", "experiment"):
        for quantity, found in references(kind).items():
            assert found.quantity == quantity
            assert found.unit in {"Å", "GPa", "eV", "eV/atom", "J/m²"}
            assert any(char.isdigit() for char in found.source)
            assert found.method
    assert references("pbe")["Li(110) surface energy"].value == 0.491
    assert references("gpaw")["Cu bulk modulus"].value == 162
    assert references("experiment")["Li vacancy formation"].value == 0.34


def test_a_killed_card_goes_on(quick, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(module, "elastic_constants", lambda *a, **k: calls.append(1) or stop())
    with pytest.raises(KeyboardInterrupt):
        scorecard(EMT(), tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(module, "equation_of_state", raise_symbol)  # not again for copper
    monkeypatch.setattr(module, "vacancy", lambda *a, **k: left_out())
    monkeypatch.setattr(module, "distinct_millers", lambda: [(1, 1, 1)])
    with pytest.raises(TypeError, match="Li"):  # lithium's has not been computed yet
        scorecard(EMT(), tmp_path)
    assert calls == [1]
    assert (tmp_path / "eos-Cu.json").exists()
    assert (tmp_path / "surface-energy-Cu.json").exists()


def raise_symbol(symbol, calculator):
    raise TypeError(symbol)


def stop():
    raise KeyboardInterrupt


def test_the_same_potential_by_another_name_is_the_same_card(card, monkeypatch):
    folder, scores = card
    monkeypatch.setattr(module, "_compute", None)  # nothing is computed again
    again = scorecard(EMT(), folder, reference="experiment", model="elsewhere/run")
    assert [score.value for score in again] == [score.value for score in scores]


def test_another_potential_needs_another_folder(card):
    folder, _ = card
    with pytest.raises(CuliError):
        scorecard(EMT(), folder, reference="pbe")


def test_page_has_values_references_and_reasons(card):
    _, scores = card
    text = page(scores, "<EMT>")
    assert "&lt;EMT&gt;" in text
    assert "<EMT>" not in text
    assert "144.3 GPa" in text
    assert "No EMT-potential for Li" in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "Withheld" not in page([Score("x", 1.0, "eV", None)], "m")
