"""One page about any finished folders: what stands there is what their records say."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from culi_mlip.datasets.card import Card
from culi_mlip.dynamics import run_md, run_relaxations
from culi_mlip.dynamics.records import read_log
from culi_mlip.errors import CuliError
from culi_mlip.files import write_json
from culi_mlip.models.files import ModelRecord
from culi_mlip.properties.scorecard import ScorecardInputs, read_scorecard
from culi_mlip.report.overview import write_overview
from culi_mlip.runs import run_folder
from tests.conftest import unpack_old
from tests.report.reader import Reader


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    unpack_old(folder, "dataset", "run", "study", "melt-quench")
    atoms = bulk("Cu", cubic=True)
    run_md(atoms, EMT(), temperature=300, time=0.2, timestep=2, stride=5, out=folder / "md")
    atoms.rattle(0.05)
    run_relaxations([atoms, atoms], EMT(), steps=1, out=folder / "relaxed")
    return folder


def read(folders, *names):
    page = write_overview([folders / name for name in names], folders / "page.html", in_3d=False)
    return Reader(page.read_text(encoding="utf-8"))


def test_datasets_and_trainings_are_as_recorded(folders):
    found = read(folders, "dataset", "run")
    card, model = (
        Card.read(folders / "dataset/card.json"),
        ModelRecord.read(folders / "run/model.json"),
    )
    counts, settings = found.tables
    assert counts[-1][1:] == [str(n) for n in card.frames.values()]
    assert f"{1000 * model.validation.force_mae:.1f} meV/Å" in found.text
    assert f"{1000 * model.validation.energy_mae_per_atom:.2f} meV/atom" in found.text
    assert card.caution in found.text
    assert dict(settings)["r_max"] == str(model.settings.r_max)
    assert found.tags.count("img") == 2


def test_runs_are_as_logged(folders):
    found = read(folders, "md", "relaxed")
    log = read_log(folders / "md/log.csv")
    half = len(log["time_ps"]) // 2
    assert f"{log['temperature_K'][half:].mean():.0f}" in found.text
    slope = np.polyfit(log["time_ps"][half:], log["conserved_eV"][half:], 1)[0] / 4
    assert f"{1000 * slope:+.3f}" in found.text
    assert "Cu4; nvt, 300 K, time step 2 fs." in found.text
    (relaxed,) = found.tables
    assert [row[1] for row in relaxed[1:]] == ["Cu4", "Cu4"]
    assert "2structures0converged" in found.text


def test_tunings_are_interactive(folders):
    found = read(folders, "study")
    assert "script" in found.tags
    assert "trials" in found.text


def test_scorecards_are_read_again(folders, tmp_path):
    inputs = ScorecardInputs(calculator="c", members=["a", "b"], reference="gpaw", model="mine")
    with run_folder(tmp_path, "scorecard", inputs):
        for name, value in (("", 160.0), ("member-0/", 150.0), ("member-1/", 170.0)):
            (tmp_path / name).mkdir(exist_ok=True)
            found = {"values": {"Cu bulk modulus": [value, "GPa"]}, "withheld": None}
            write_json(tmp_path / name / "values.json", {"eos-Cu": found})
    (score,), model = read_scorecard(tmp_path)
    assert (score.value, score.reference.value, model) == (160, 162, "mine")
    assert score.error == pytest.approx(200**0.5)
    page = write_overview([tmp_path], tmp_path / "r.html", in_3d=False).read_text("utf-8")
    assert "Scorecard of mine" in page
    assert "160 ± 14 GPa" in page


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("melt-quench", "its melt-quench is not finished"),
        (".", "holds nothing finished"),
        ("nothing", "holds nothing finished"),
    ],
)
def test_what_is_not_finished_is_refused(folders, name, what):
    with pytest.raises(CuliError, match=what):
        read(folders, "md", name)
    with pytest.raises(CuliError, match="holds no scorecard"):
        read_scorecard(folders / "nothing")


def test_the_command_writes_beside_the_first(folders, culi):
    done = culi("report", folders / "md", folders / "relaxed", "--no-3d")
    assert done.stdout == f"Page: {folders}/md/report.html\n"
    assert "Folders: 2/2, 0 s left" in done.stderr
    assert (folders / "md/report.html").stat().st_size > 20_000
    pytest.importorskip("chemiscope")
    done = culi("report", folders / "md", "--out", folders / "all.html")
    assert done.returncode == 0
    assert "Chemiscope.StructureVisualizer.load" in (folders / "all.html").read_text("utf-8")
    done = culi("report", "missing")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: missing holds nothing finished")
