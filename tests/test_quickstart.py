"""The whole path in small: every step leaves its results, and the page needs no other file."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import ase.io
import pytest

pytest.importorskip("chgnet")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    from culi_mlip.quickstart import quickstart

    said = []
    out = tmp_path_factory.mktemp("q") / "quickstart"
    result = quickstart(out, quick=True, say=said.append, step=lambda name: lambda d, t: None)
    return out, result, said


def test_it_says_that_the_labels_are_a_stand_in(quickstart):
    out, _, said = quickstart
    assert any("stand-in for DFT, not DFT" in line for line in said)
    assert "stand-in for DFT" in (out / "data/card.md").read_text()


def test_page_is_self_contained_and_complete(quickstart):
    out, result, _ = quickstart
    page = result.page.read_text()
    assert page.count("src='data:image/png;base64,") == 6
    assert not re.search(r"(src|href)=['\"]?(http|/|\.)", page)
    for word in ("stand-in for DFT", "Allegro+QDI", "meV/atom/ps", "What next", "adlayer-md"):
        assert word in page
    assert "The split is by parent: an ideal structure and all that was made from it" in page
    assert f"{1000 * result.errors['force_mae']:.1f} meV/Å" in page
    assert {p.stem for p in (out / "figures").glob("*.png")} >= {"parity", "snapshots"}


def test_lithium_stays_on_copper(quickstart):
    out, result, _ = quickstart
    assert result.lost_atoms == []
    assert abs(result.nve_drift) < 1e-3
    frames = ase.io.read(out / "md/nvt/trajectory.extxyz", index=":")
    assert {len(f) for f in frames} == {72}


def test_folder_can_be_moved_and_continued(quickstart, tmp_path):
    from culi_mlip.quickstart import quickstart as run

    out, result, _ = quickstart
    moved = tmp_path / "elsewhere"
    shutil.copytree(out, moved)
    again = run(moved, quick=True, say=lambda text: None, step=lambda name: lambda d, t: None)
    assert again.errors == pytest.approx(result.errors)
    assert (moved / "md/nve/log.csv").read_bytes() == (out / "md/nve/log.csv").read_bytes()


def test_example_runs_with_the_potential(quickstart):
    out, _, _ = quickstart
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "li_on_cu.py", out / "run"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["top", "bridge", "hollow"]


def test_ase_example_of_the_readme_runs(quickstart, capsys):
    out, _, _ = quickstart
    section = (ROOT / "README.md").read_text().split("## In ASE")[1].split("##")[0]
    code = textwrap.dedent("\n".join(re.findall(r"^    .*|^$", section, re.MULTILINE)))
    assert "HybridAllegro" in code
    exec(code.replace("quickstart/run", str(out / "run")).replace("fmax=0.05", "steps=3"), {})  # noqa: S102
    assert float(capsys.readouterr().out.split()[-1]) < 0
