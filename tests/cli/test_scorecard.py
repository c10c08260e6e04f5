"""``culi-mlip scorecard``: one model, committees, what is refused."""

import json

import pytest

from culi_mlip.properties import scorecard as module
from tests.cli.test_wrong_input import assert_one_line


@pytest.fixture
def quick(monkeypatch):
    """Only the equations of state."""

    def tasks(calculator, values):
        del values
        for symbol in ("Cu", "Li"):
            compute = module.partial(module.equation_of_state, symbol, calculator, a=3.6)
            yield f"eos-{symbol}", compute, module.partial(module._of_eos, symbol)

    monkeypatch.setattr(module, "_tasks", tasks)


def test_card_of_an_engine(quick, culi, tmp_path):
    done = culi("scorecard", "emt", "--reference", "experiment", "--out", "card")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("Cu bulk modulus"))
    assert row.split()[3:5] == ["134.5", "GPa"]
    assert "144.3" in row
    page = (tmp_path / "card/card.html").read_text("utf-8")
    assert "Scorecard of emt" in page
    assert "No EMT-potential for Li" in page
    assert (tmp_path / "card/card.png").stat().st_size > 5000
    done = culi("report", "card")
    assert done.returncode == 0
    assert "Scorecard of emt" in (tmp_path / "card/report.html").read_text("utf-8")
    assert_one_line(culi("scorecard", "emt", "--out", "card"), "other reference")


def test_card_of_a_committee(quick, culi, trained, tmp_path, monkeypatch):
    """Its members are scored, too: here by a stand-in of the equation of state."""
    seen = []

    def fake(symbol, calculator, a):
        seen.append(calculator.paths)
        value = 100.0 + 10 * len(seen)
        return module_state(symbol, value)

    monkeypatch.setattr(module, "equation_of_state", fake)
    runs = [trained["allegro"], trained["qdi"]]
    done = culi("scorecard", *runs, "--out", "card")
    assert done.returncode == 0, done.stderr
    assert seen[::2] == [runs, runs[:1], runs[1:]]
    values = [
        json.loads((tmp_path / "card" / name / "values.json").read_text())["eos-Cu"]["values"]
        for name in (".", "member-0", "member-1")
    ]
    moduli = [v["Cu bulk modulus"][0] for v in values]
    assert moduli == [110, 130, 150]
    assert "110 ± 14 GPa" in done.stdout


def module_state(symbol, modulus):
    from culi_mlip.properties import EquationOfState

    return EquationOfState(symbol, "fcc", 3.6, modulus, -3.0, None, None)


def test_models_that_are_none_are_refused(culi, tmp_path):
    assert_one_line(culi("scorecard", "missing"), "no model at missing")
    assert_one_line(culi("scorecard", "emt", "chgnet"), "no model at emt")
    assert not (tmp_path / "card").exists()
