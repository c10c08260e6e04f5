"""Dry runs and pictures of structures, as users type them."""

import csv
import json
import re
import shutil

import ase.io
import pytest
import yaml
from click.testing import CliRunner

from culi_mlip.cli import group
from culi_mlip.configuration import parse
from culi_mlip.structures import Campaign, bulk, campaign, interface, slab
from culi_mlip.workflows import workflow
from tests.cli.test_wrong_input import assert_one_line

PNG = b"\x89PNG"

RECIPE = {
    "structures": [
        {"kind": "slab", "symbol": "Cu", "millers": [[1, 1, 1]], "disorder": {"copies": 1}},
        {"kind": "adatom", "symbol": "Cu", "adatom": "Li", "millers": [[1, 1, 1]]},
    ],
    "published": {"adatom": 17},
    "engine": {"name": "emt"},
}


def test_dry_run_counts_draws_and_labels_nothing(culi, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    done = culi("build-dataset", "recipe.yaml", "--dry-run", "--out", "dry")
    assert done.returncode == 0, done.stderr
    assert "Lattice constants: Cu 3.610 Å (experiment, until emt's own is computed)" in done.stdout
    assert re.search(r"slab\s+2\s+2\s+16 to 16\s+–", done.stdout)
    assert re.search(r"adatom\s+4\s+4\s+65 to 65\s+17", done.stdout)
    assert {p.name for p in (tmp_path / "dry").iterdir()} == {
        "structures.extxyz",
        "structures.csv",
        "contact_sheet.png",
    }
    assert (tmp_path / "dry/contact_sheet.png").read_bytes().startswith(PNG)
    frames = ase.io.read(tmp_path / "dry/structures.extxyz", ":")
    assert [a.info["kind"] for a in frames] == ["slab"] * 2 + ["adatom"] * 4
    assert frames[2].info["title"] == "Li on Cu(111), adatom top 1 2×2"
    assert frames[2].info["parent"] == frames[0].info["uid"]
    assert all(a.calc is None for a in frames)
    assert len(frames[0].constraints[0].index) == 12
    with (tmp_path / "dry/structures.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["uid"] for row in rows] == [a.info["uid"] for a in frames]
    cu = rows[0]
    assert (cu["title"], cu["atoms"], cu["fixed"]) == ("Cu(111), slab", "16", "12")
    assert float(cu["thickness_A"]) == pytest.approx(15 * 3.61 / 3**0.5, abs=1e-3)
    assert float(cu["vacuum_A"]) == pytest.approx(30)
    how = json.loads(rows[2]["how"])
    assert (how["site"], how["height"], how["repeat"]) == ("top", 2.0, [2, 2, 1])
    assert frames[2].info["how"]["site"] == "top"
    assert json.loads(rows[1]["how"])["disorder"]["rattled"] == 0.05


def test_dry_run_of_the_default_recipe_names_disordered_structures_too(culi, tmp_path):
    done = culi("build-dataset", "--dry-run", "--out", "dry")
    assert done.returncode == 0, done.stderr
    titles = [a.info["title"] for a in ase.io.read(tmp_path / "dry/structures.extxyz", ":")]
    assert "Li(100) on Cu(100), interface shift 0.50, 0.50 gap 2.2 Å film strained" in titles
    assert "Li on Cu(111), adlayer 0.5 ML 2×2" in titles
    assert len(set(titles)) == len(titles), "titles tell structures apart"


@pytest.mark.timeout(300)
def test_dry_run_of_the_paper_is_beside_its_counts(culi, tmp_path):
    times = ["--step-seconds", 60, "--step-seconds", "interface=600", "--step-cores", 32]
    recipe = workflow("cu_li_paper.yaml")
    done = culi("build-dataset", recipe, "--dry-run", "--out", "dry", *times)
    assert done.returncode == 0, done.stderr
    # 1 ps at 600 K and 590 K at 250 K/ps are 500 and 1180 steps of 2 fs, from 13 interfaces.
    steps = 13 * (1 + 500 + 1180)
    hours = steps * 600 * 32 / 3600
    assert re.search(
        rf"melt-quench\s+interface\s+13\s+{steps}\s+10998\s+11000\s+{hours:,.0f}", done.stdout
    )
    every = 757 * (1 + 30) + steps
    assert f"{every:,} steps (energy with forces) of chgnet" in done.stdout
    for kind, ours, theirs in (("slab", 26, 26), ("vacancy", 102, 68), ("adatom", 616, 537)):
        assert re.search(rf"{kind}\s+{ours}\s+{ours}\s+\d+ to \d+\s+{theirs}", done.stdout)


def test_structures_of_a_folder_are_drawn(culi, tmp_path):
    (tmp_path / "some").mkdir()
    ase.io.write(tmp_path / "some/a.extxyz", [bulk("Li"), slab("Cu", (1, 1, 1))], format="extxyz")
    ase.io.write(tmp_path / "some/b.cif", interface("Li", (1, 0, 0), "Cu", (1, 0, 0)))
    done = culi("structures", "show", "some")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 structures" in done.stdout
    assert (tmp_path / "some_structures.png").read_bytes().startswith(PNG)
    few = culi("structures", "show", "some", "--most", 2, "--out", "few.png")
    assert "2 of 3 structures" in few.stdout


@pytest.fixture
def drawn(monkeypatch):
    """Run ``structures show`` in this process; gives what is printed and the drawn pairs."""
    from culi_mlip.report import figures

    sheets = []

    def sheet(frames, **options):
        sheets.append(frames)
        return contact_sheet(frames, **options)

    contact_sheet = figures.contact_sheet
    monkeypatch.setattr(figures, "contact_sheet", sheet)

    def run(*arguments):
        done = CliRunner().invoke(group, ["structures", "show", *map(str, arguments)])
        assert done.exit_code == 0, done.output
        return done.output, sheets[-1]

    return run


@pytest.mark.parametrize(
    ("most", "chosen"), [(48, range(5)), (5, range(5)), (4, [0, 1, 3, 4]), (3, [0, 2, 4]), (1, [0])]
)
def test_the_evenly_chosen_are_drawn_each_once(drawn, tmp_path, most, chosen):
    cells = [bulk("Cu", a=a) for a in (3.5, 3.55, 3.6, 3.65, 3.7)]
    ase.io.write(tmp_path / "a.extxyz", cells, format="extxyz")
    output, pairs = drawn(tmp_path / "a.extxyz", "--most", most, "--out", tmp_path / "a.png")
    volumes = [atoms.get_volume() for _, atoms in pairs]
    assert volumes == pytest.approx([cells[i].get_volume() for i in chosen])
    assert f"Drawn: {len(volumes)} of 5 structures in" in output
    titles = [title for title, _ in pairs]
    assert len(set(titles)) == len(titles), "the same formula five times"


def test_an_exported_file_is_not_counted_again_and_titles_say_what_each_is(
    drawn, culi, tiny_data, tmp_path
):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    assert "Drawn: 9 of 9 structures in" in drawn(data)[0]
    shutil.copy(data / "train.extxyz", data / "all.extxyz")
    output, pairs = drawn(data)
    assert "Drawn: 9 of 9 structures (" in output
    assert "that stand twice left out" in output
    assert sorted(title for title, _ in pairs) == sorted(
        f"Cu4, bulk{strain}{copy}"
        for strain in (" -3 %", "", " +3 %")
        for copy in ("", " rattled 0.05 Å, copy 1", " rattled 0.1 Å, copy 2")
    )
    assert drawn(data / "train.extxyz")[1][0][0].startswith("Cu4, bulk")


def test_titles_tell_registries_strains_and_sites_apart():
    from culi_mlip.structures.titles import title

    thin = {"thickness": 4, "vacuum": 6, "free_layers": None, "millers": [[1, 1, 1]]}
    sides = {"film_thickness": 4, "substrate_thickness": 4, "shifts": "high-symmetry"}
    pair = {"film": "Li", "substrate": "Cu", "pairs": [[[1, 1, 0], [1, 1, 1]]]}
    parts = [
        {"kind": "bulk", "symbol": "Cu", "strains": [-0.02, 0.0, 0.02], "shears": [0.03, 0.03]},
        {"kind": "adatom", "symbol": "Cu", "adatom": "Li", **thin},
        {"kind": "vacancy", "symbol": "Cu", "repeat": 2, **thin},
        {"kind": "vacancy", "symbol": "Cu", **thin},
        {"kind": "adlayer", "symbol": "Cu", "coverages": [0.5, 1.0], **thin},
        {"kind": "adlayer", "symbol": "Cu", "coverages": [0.5], "arrangement": "island", **thin},
        {"kind": "interface", **pair, **sides, "disorder": {"copies": 2, "rattle": [0.05]}},
        {"kind": "interface", **pair, **sides, "strain": "shared", "gap": 2.5},
    ]
    titles = [title(entry) for entry in campaign(parse(Campaign, {"structures": parts}, "test"))]
    assert len(titles) > 30
    assert len(set(titles)) == len(titles)
    assert "Cu8, bulk -2 %" in titles
    assert "Li on Cu(111), adatom hollow 2 2×2" in titles
    assert "Cu(111), vacancy CN 9 2 cells" in titles
    assert "Li(110) on Cu(111), interface shift 0.00, 0.00 gap 2.5 Å shared strained" in titles


def test_viewer_page_holds_the_structures_and_needs_nothing_else(culi, tmp_path):
    pytest.importorskip("chemiscope")
    ase.io.write(tmp_path / "a.extxyz", slab("Cu", (1, 1, 1)), format="extxyz")
    done = culi("structures", "show", "a.extxyz", "--viewer")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "a_structures.html").read_text()
    assert "Chemiscope.StructureVisualizer.load" in page
    assert '"Cu16"' in page
    assert not re.search(r"<script[^>]* src=|<link", page)


def test_wrong_sources_are_one_line(culi, tmp_path):
    assert_one_line(culi("structures", "show", "none.xyz"), "none.xyz does not exist")
    (tmp_path / "empty").mkdir()
    assert_one_line(culi("structures", "show", "empty"), "holds no structure file")
    (tmp_path / "bad.xyz").write_text("3\n\nCu 0 0")
    assert_one_line(culi("structures", "show", "bad.xyz"), "bad.xyz, line 1: frame 0 is empty or")
    recipe = {"structures": [{"kind": "slab", "symbol": "Cu", "millers": [[0, 0, 0]]}]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = culi("build-dataset", "recipe.yaml", "--dry-run", "--out", "dry")
    assert_one_line(done, "structures.0 of the recipe, slab Cu(000): Miller index (0, 0, 0)")
    for part, words in (
        ({"kind": "slab", "symbol": "Cu", "vacuum": float("inf")}, "vacuum: input should be a fin"),
        ({"kind": "bulk", "symbol": "Cu", "shears": [float("nan")]}, "shears.0: input should be"),
        ({"symbol": "Cu"}, "structures.0: key 'kind' is missing"),
        ({"kind": "slob", "symbol": "Cu"}, "'slob' is unknown: choose one of 'bulk', 'slab'"),
        ({"kind": "slab", "symbol": "Cu", "millers": [1, 0, 0]}, "give a list, in brackets"),
        ({"kind": "interface", "film": "Li", "substrate": "Zn"}, "the crystal of Zn is hcp"),
    ):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"structures": [part]}))
        assert_one_line(culi("build-dataset", "recipe.yaml", "--dry-run", "--out", "dry"), words)
    recipe = {"structures": [{"kind": "slab", "symbol": "Cu"}], "published": {"slabb": 3}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = culi("build-dataset", "recipe.yaml", "--dry-run", "--out", "dry")
    assert_one_line(done, "no part is of kind 'slabb'")
    done = culi("structures", "show", "recipe.yaml", "--out", "recipe.yaml")
    assert_one_line(done, "give a file that ends in .png")
    assert not list((tmp_path / "dry").glob("*"))


def test_the_page_in_three_dimensions_has_all_structures_by_name_and_size(
    drawn, tmp_path, monkeypatch
):
    """Of five structures two are drawn and five are on the page, one twin left out."""
    from culi_mlip.report import viewer

    pages = []
    monkeypatch.setattr(viewer, "write_viewer", lambda *call: pages.append(call) or call[0])
    cells = [bulk("Cu", repeat=(i, 1, 1)) for i in (3, 1, 2, 5, 4)]
    for i, atoms in enumerate(cells):
        atoms.info["title"] = f"number {i}"
    twin = cells[0].copy()
    twin.info["title"] = "again"
    ase.io.write(tmp_path / "a.extxyz", [*cells, twin], format="extxyz")
    output, pairs = drawn(tmp_path / "a.extxyz", "--most", 2, "--viewer")
    assert [(title, len(atoms)) for title, atoms in pairs] == [("number 0", 3), ("number 4", 4)]
    ((path, frames, properties),) = pages
    assert path == tmp_path / "a_structures.html"
    assert [len(atoms) for atoms in frames] == [3, 1, 2, 5, 4]
    assert properties == {"name": [f"number {i}" for i in range(5)], "atoms": [3, 1, 2, 5, 4]}
    assert "Drawn: 2 of 5 structures (1 that stand twice left out)" in output
    assert f"Viewer: open {path} in a browser" in output
    assert (tmp_path / "a_structures.png").is_file()
