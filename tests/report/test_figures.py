"""Figures: units and per-atom energies of what is drawn, contact sheets that fill their space."""

import io

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii
from matplotlib.image import imread

from culi_mlip.models.evaluation import Errors
from culi_mlip.models.noise import NoiseErrors, PowerLaw
from culi_mlip.quantum.analysis import Fisher
from culi_mlip.report.circuits import fisher_figure, noise_figure
from culi_mlip.report.figures import (
    calibration,
    contact_sheet,
    heights,
    learning_curve,
    md_series,
    parity,
    png,
    snapshots,
)
from culi_mlip.structures import adatoms, bulk, interface, slab

GPA = 160.21766208


def lines(axes):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_parity_shows_pascals_and_thousandths():
    energies = np.array([[-3.0, -2.99], [-1.0, -1.03]])
    forces = np.array([[0.0, 0.1], [0.5, 0.2]])
    stresses = np.array([[1.0, 3.0], [2.0, 2.0]]) / GPA
    panels = parity(energies, forces, stresses).axes
    shown = [axes.texts[0].get_text() for axes in panels]
    assert shown == ["MAE 20 meV/atom", "MAE 200 meV/Å", "MAE 1 GPa"]
    for axes, pairs in zip(panels, (energies, forces, stresses * GPA), strict=True):
        np.testing.assert_allclose(axes.collections[0].get_offsets(), pairs, rtol=1e-6)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("reference", "potential")
    empty = parity(energies, forces, np.empty((0, 2))).axes[2]
    assert empty.texts[0].get_text() == "no reference"


def test_crowded_parity_shows_how_many():
    rng = np.random.default_rng(0)
    crowd, few = rng.normal(size=(5000, 2)), rng.normal(size=(50, 2))
    figure = parity(few, crowd, few)
    (hexagons,) = figure.axes[1].collections
    assert hexagons.get_array().sum() == 5000
    (points,) = figure.axes[0].collections
    assert len(points.get_offsets()) == 50
    error = np.abs(crowd[:, 1] - crowd[:, 0]).mean()
    assert f"MAE {1000 * error:.3g} meV/Å" in [t.get_text() for t in figure.axes[1].texts]


def test_calibration_shows_atoms_and_root_mean_squares_of_tenths():
    expected = np.arange(1, 41) / 100
    true = np.where(np.arange(40) % 2, 3 * expected, expected)
    axes = calibration(np.column_stack([expected, true])[::-1]).axes[0]
    points = axes.collections[0].get_offsets()
    assert sorted(points[:, 0]) == pytest.approx(1000 * expected)
    tenths, line = (np.column_stack(drawn.get_data()) for drawn in axes.get_lines())
    first = [np.sqrt(np.mean(np.square(values[:4]))) for values in (expected, true)]
    assert len(tenths) == 10
    assert tenths[0] == pytest.approx(1000 * np.array(first))
    assert line.tolist() == [[10, 10], [400, 400]]
    assert "expected force error (meV/Å)" in axes.get_xlabel()
    assert not calibration(np.empty((0, 2))).axes[0].collections


def test_energies_of_a_run_are_per_atom_in_thousandths():
    log = {
        "time_ps": np.array([0.0, 1.0]),
        "temperature_K": np.array([300.0, 330.0]),
        "potential_eV": np.array([-10.0, -9.0]),
        "conserved_eV": np.array([5.0, 5.2]),
    }
    upper, lower = md_series(log, 300.0, 4, "NVT").axes
    assert lines(lower)["potential"] == pytest.approx([0, 250])
    assert lines(lower)["conserved"] == pytest.approx([0, 50])
    first, target = upper.get_lines()
    assert first.get_ydata() == pytest.approx([300, 330])
    assert target.get_ydata() == pytest.approx([300, 300])
    assert len(md_series(log, None, 4, "NVE").axes[0].get_lines()) == 1


def test_learning_curve_counts_from_one_in_thousandths():
    rows = [{"epoch": 0, "val0_epoch/forces_mae": 0.2}, {"epoch": 1, "val0_epoch/forces_mae": 0.1}]
    (axes,) = learning_curve(rows).axes
    (line,) = axes.get_lines()
    assert line.get_label() == "force (meV/Å)"
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata() == pytest.approx([200, 100])


def test_heights_name_their_elements():
    (axes,) = heights({"Li": (np.array([0.0, 1.0]), np.array([2.0, 3.0]))}).axes
    assert axes.collections[0].get_label() == "Li"
    assert axes.get_xlabel() == "height z (Å)"


def ink(figure):
    """Say which pixels are not white."""
    return (imread(io.BytesIO(png(figure)))[..., :3] < 0.97).any(axis=-1)


@pytest.fixture(scope="module")
def structures():
    base = slab("Cu", (1, 1, 1), thickness=6, vacuum=20)
    flat = slab("Li", (1, 0, 0), thickness=7, vacuum=20)
    both = interface("Li", (1, 0, 0), "Cu", (1, 0, 0), film_thickness=6, substrate_thickness=6)
    return [bulk("Cu", repeat=(2, 2, 2)), bulk("Li"), base, flat, *adatoms(base, "Li"), both]


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_sheets_fill_their_space(structures, n):
    figure = contact_sheet([(f"structure {i}", a) for i, a in enumerate(structures[:n])])
    seen = ink(figure)
    rows = np.flatnonzero(seen.any(axis=1))
    empty = np.diff(np.r_[0, rows, len(seen)]).max() / 130  # inches
    assert empty < 0.4, "an empty band across the sheet"
    assert seen.any(axis=1).mean() > 0.6
    assert seen.any(axis=0).mean() > 0.7


def test_both_views_of_each_structure_are_labelled_and_apart(structures):
    titles = [f"structure {i}" for i in range(len(structures))]
    figure = contact_sheet(list(zip(titles, structures, strict=True)))
    shown = texts(figure)
    assert [t for t in shown if t.startswith("structure")] == titles
    assert shown.count("side") == shown.count("from above") == len(structures)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 2 * len(structures)
    for i, a in enumerate(boxes):
        assert 0 <= a.x0 < a.x1 <= 1
        assert 0 <= a.y0 < a.y1 <= 1
        for b in boxes[:i]:
            assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0


def test_views_are_to_scale_and_seen_from_where_they_say(structures):
    base = structures[2]
    (adatom, *_) = adatoms(base, "Li")
    side, above = contact_sheet([("", adatom)]).axes
    scales = []
    for axes in (side, above):
        width, height = axes.get_figure().get_size_inches()
        box = axes.get_position()
        scales += [
            box.width * width / np.ptp(axes.get_xlim()),
            box.height * height / np.ptp(axes.get_ylim()),
        ]
    assert scales == pytest.approx([scales[0]] * 4)
    highest = max(side.collections[0].get_offsets()[:, 1])
    assert highest == pytest.approx(adatom.positions[-1, 2]), "up is z"
    drawn = above.collections[0].get_facecolors()[-1][:3]
    assert drawn == pytest.approx(np.array([0x7A, 0x6F, 0xC9]) / 255), "the nearest is the adatom"


def test_long_titles_are_broken_and_lines_kept(structures):
    long = "Li(100) on Cu(100), interface shift 0.50, 0.50 gap 2.2 Å film strained"
    figure = contact_sheet([(f"{long}\nforce", structures[0])])
    (title, *_) = texts(figure)
    assert " ".join(title.split()) == f"{long} force"
    assert max(map(len, title.splitlines())) <= 42
    assert title.splitlines()[-1] == "force"


def test_snapshots_have_a_side_and_a_top_view_each(structures):
    figure = snapshots({"start": structures[2], "end": structures[2]})
    assert [axes.get_title() for axes in figure.axes] == ["start", "end", "", ""]
    assert all(len(axes.collections) == 1 for axes in figure.axes)


def test_shares_of_the_fisher_spectrum_are_percent():
    eigenvalues = np.array([[0.0, 0.5, 2.0], [0.0, 0.0, 4.0]])
    result = Fisher(eigenvalues, np.eye(3), np.array([2, 1]), 0.5, 0.1)
    spectrum, _, plateau, *_ = fisher_figure(result, {1: 4.0, 2: 7.5}).axes
    assert spectrum.get_ylabel() == "share (%)"
    assert sum(bar.get_height() for bar in spectrum.patches) == pytest.approx(100)
    assert max(bar.get_height() for bar in spectrum.patches) == pytest.approx(100 * 3 / 6)
    assert plateau.get_lines()[0].get_xydata().tolist() == [[1, 4.0], [2, 7.5]]


def test_noise_is_drawn_beside_the_models_own_error_in_thousandths():
    rows = [NoiseErrors(100, 0.0, 0.002, 0.03), NoiseErrors(1000, 0.0, 0.001, 0.01)]
    own = Errors("all", 2, 0.004, 0.0, 0.05, 0.0, None)
    laws = {"force_by_shots": PowerLaw(0.3, -0.5), "energy_by_shots": None}
    shots, depolarising = noise_figure(rows, laws, own).axes
    drawn = {
        line.get_label(): line.get_ydata() for line in shots.get_lines() if line.get_marker() == "o"
    }
    assert drawn["energy (meV/atom)"] == pytest.approx([2, 1])
    assert drawn["force (meV/Å), exponent -0.50"] == pytest.approx([30, 10])
    for axes in (shots, depolarising):
        dotted = [line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() == ":"]
        assert dotted == pytest.approx([50, 4])
    (law,) = [line for line in shots.get_lines() if line.get_linestyle() == "-"
              and line.get_marker() == "None"]  # fmt: skip
    assert law.get_ydata() == pytest.approx([1000 * 0.3 * n**-0.5 for n in (100, 1000)])


def test_series_stand_at_their_times_and_the_curve_has_both_errors():
    log = {
        "time_ps": np.array([0.5, 2.5]),
        "temperature_K": np.array([300.0, 330.0]),
        "potential_eV": np.array([-10.0, -9.0]),
        "conserved_eV": np.array([5.0, 5.2]),
    }
    figure = md_series(log, 310.0, 4, "NVT of six")
    assert figure.get_suptitle() == "NVT of six"
    upper, lower = figure.axes
    for axes in (upper, lower):
        assert axes.get_lines()[0].get_xdata() == pytest.approx([0.5, 2.5])
    assert (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()) == (
        "temperature (K)", "energy (meV/atom)", "time (ps)",
    )  # fmt: skip
    rows = [{"epoch": e, "val0_epoch/forces_mae": 0.3 / (e + 1),
             "val0_epoch/per_atom_energy_mae": 0.02 / (e + 1)} for e in (0, 1, 4)]  # fmt: skip
    (axes,) = learning_curve(rows).axes
    found = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert found["force (meV/Å)"] == pytest.approx([300, 150, 60])
    assert found["energy (meV/atom)"] == pytest.approx([20, 10, 4])
    assert axes.get_lines()[0].get_xdata() == pytest.approx([1, 2, 5])
    assert axes.get_yscale() == "log"


def test_heights_are_drawn_as_far_as_they_reach():
    profiles = {"Cu": (np.array([5.0, 6.0]), np.array([0.5, 0.7])),
                "Li": (np.array([9.0, 10.0]), np.array([2.0, 3.0]))}  # fmt: skip
    (axes,) = heights(profiles).axes
    for collection, (name, (z, density)) in zip(axes.collections, profiles.items(), strict=True):
        assert collection.get_label() == name
        box = collection.get_paths()[0].get_extents()
        assert (box.x0, box.x1, box.y1) == pytest.approx((*z, density.max()))
    assert axes.get_ylabel() == "atoms per Å"


def test_snapshots_show_each_frame_under_its_title_wrapped_and_the_near_atoms_last():
    start = Atoms("CuLi", positions=[[1, 1, 5], [2, 1, 9]], cell=[8, 8, 20], pbc=(1, 1, 0))
    end = start.copy()
    end.positions[1] = [11, 1, 7]  # out of the cell, above the copper
    figure = snapshots({"start": start, "end": end})
    side, above = figure.axes[1], figure.axes[3]
    assert side.get_title() == "end"
    assert sorted(side.collections[0].get_offsets().round(9).tolist()) == [[1, 5], [3, 7]]
    assert above.collections[0].get_offsets().round(9).tolist() == [[1, 1], [3, 1]], (
        "lithium on top"
    )
    sizes = above.collections[0].get_widths()
    radii = covalent_radii[[29, 3]]
    assert sizes[0] / sizes[1] == pytest.approx(radii[0] / radii[1])
    first = figure.axes[0].collections[0].get_offsets()
    assert sorted(first.round(9).tolist()) == [[1, 5], [2, 9]]


def test_farther_atoms_are_darker_down_to_half_eight_angstrom_below():
    column = Atoms("Cu3", positions=[[0, 0, 0], [0, 0, 10], [0, 0, 14]], cell=[9, 9, 30],
                   pbc=(1, 1, 0))  # fmt: skip
    _, above = contact_sheet([("", column)]).axes
    light = above.collections[0].get_facecolors()[:, 0] / (0xC2 / 255)
    assert light == pytest.approx([0.5, 0.75, 1.0])


def test_a_sheet_fills_its_rows_evenly_and_repeats_narrow_cells():
    small = bulk("Cu", a=3.6, cubic=True)
    small.pbc = (True, False, False)
    frames = [(str(i), small) for i in range(7)]
    figure = contact_sheet(frames, columns=6)
    lefts = {round(axes.get_position().x0, 4) for axes in figure.axes}
    assert len(lefts) == 8, "two rows of four rather than six and one"
    assert len(figure.axes[0].collections[0].get_offsets()) == 3 * 4, "8 Å are three cells"
    assert len(contact_sheet(frames[:2], columns=6).axes) == 4
