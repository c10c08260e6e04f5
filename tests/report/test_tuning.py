"""The report of tunings: units, the front, the best settings, failures, nothing that HTML obeys."""

import csv

import optuna
import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from culi_mlip.errors import CuliError
from culi_mlip.models.settings import TrainSettings
from culi_mlip.report.tuning import best_trials, front_table, pareto_figure, write_report
from culi_mlip.tuning.records import FrontTime, TrialJob
from culi_mlip.tuning.tune import Tuning
from culi_mlip.tuning.worker import trial_folder

VALUES = {  # by slot: error in eV/Å, seconds
    0: (0.080, 4.0),  # untuned
    1: (0.010, 8.0),
    2: (0.020, 2.0),  # the knee
    3: (0.040, 1.0),
    4: (0.015, 7.0),
    5: (0.018, 0.1),  # best of all, but infeasible
}


def tuning_in(folder, name="a<b>", error="force MAE (eV/Å)"):
    study = optuna.create_study(directions=["minimize"] * 2, study_name=name)
    study.set_metric_names([error, "inference time (s)"])
    lost = create_trial(state=TrialState.FAIL, user_attrs={"slot": 1})
    study.add_trial(lost)  # was interrupted and made again: numbers are not slots
    for slot, values in VALUES.items():
        trial = create_trial(
            state=TrialState.COMPLETE,
            values=values,
            params={"r_max": 4.0 + slot},
            distributions={"r_max": FloatDistribution(4.0, 12.0)},
            user_attrs={"slot": slot, "parameters": 1000 * (slot + 1), "owner": "me"},
            system_attrs={"constraints": [1.0 if slot == 5 else -1.0]},
        )
        study.add_trial(trial)
    failed = create_trial(
        state=TrialState.FAIL, user_attrs={"slot": 6, "failure": "ran <out> of memory"}
    )
    study.add_trial(failed)
    trials = study.get_trials()[1:]
    tuning = Tuning(folder, study, 7, trials)
    for trial in trials:
        job = trial_folder(folder, trial) / "job.json"
        job.parent.mkdir(parents=True, exist_ok=True)
        TrialJob(
            data="", settings=TrainSettings(seed=trial.user_attrs["slot"]), compile=False,
            repeats=5, threads=1, max_drift=None, device="cpu", cores=[],
        ).write(job)  # fmt: skip
    return tuning


@pytest.fixture
def tuning(tmp_path):
    return tuning_in(tmp_path / "tuning")


def time(seconds):
    return FrontTime(inference_seconds=seconds, inference_quartiles=(1, 2), hardware="chip")


def slots(trials):
    return {name: trial.user_attrs["slot"] for name, trial in trials.items()}


def test_best_are_the_ends_of_the_front_and_its_knee(tuning):
    assert slots(best_trials(tuning)) == {"most accurate": 1, "fastest": 3, "balanced": 2}
    knee = next(t for t in tuning.front if t.user_attrs["slot"] == 2)
    (trial_folder(tuning.folder, knee) / "job.json").unlink()  # on another machine
    assert slots(best_trials(tuning)) == {"most accurate": 1, "fastest": 3, "balanced": 4}


def test_the_front_is_in_thousandths_the_most_accurate_first(tuning):
    titles, rows = front_table(tuning, {2: time(2.5)})
    assert titles == ["trial", "force MAE (meV/Å)", "inference (s)", "one sitting (s)", "weights",
                      "settings"]  # fmt: skip
    assert rows[0] == ["1", "10.0", "8.000", "–", "2,000", "r_max=5"]
    assert rows[2] == ["2", "20.0", "2.000", "2.500", "3,000", "r_max=6"]
    assert [row[0] for row in rows] == ["1", "4", "2", "3", "0 (untuned)"]


def test_the_figure_has_the_units_of_its_axes(tuning):
    (axes,) = pareto_figure([tuning]).axes
    assert axes.get_xlabel() == "Validation force MAE (meV/Å)"
    points = axes.collections[0].get_offsets()
    assert sorted(map(tuple, points.round(6).tolist())) == sorted(
        (1000 * error, seconds) for error, seconds in VALUES.values()
    )
    front = axes.get_lines()[0]
    assert front.get_xdata() == pytest.approx([10, 15, 20, 40])
    assert front.get_ydata() == pytest.approx([8, 7, 2, 1])


def test_a_report_has_all_trials_the_best_settings_and_text_alone(tuning, tmp_path):
    page = write_report([tuning], [{}], tmp_path / "report").read_text(encoding="utf-8")
    rows = list(csv.DictReader((tmp_path / "report/trials.csv").open()))
    assert [row["slot"] for row in rows] == [str(n) for n in range(7)]
    assert [row["on_front"] for row in rows] == [str(n in (1, 2, 3, 4)) for n in range(7)]
    assert rows[2]["r_max"] == "6.0"
    assert rows[6]["failure"] == "ran <out> of memory"
    assert "owner" not in rows[0]
    best = {f.name: yaml.safe_load(f.read_text())["seed"] for f in tmp_path.rglob("*.yaml")}
    assert best == {
        "a<b>-most-accurate.yaml": 1,
        "a<b>-fastest.yaml": 3,
        "a<b>-balanced.yaml": 2,
    }
    assert (tmp_path / "report/pareto.png").read_bytes().startswith(b"\x89PNG")
    text = page[page.index("<h2>") :]
    assert "<h2>a&lt;b&gt;</h2>" in text
    assert "7 trials, 1 failed" in text
    assert "<li>ran &lt;out&gt; of memory</li>" in text
    assert "<out>" not in page
    assert '"x":[10.0,15.0,20.0,40.0]' in page.replace(" ", "")


def test_tunings_of_different_errors_are_reported_apart(tuning, tmp_path):
    other = tuning_in(tmp_path / "other", error="energy MAE (eV/atom)")
    with pytest.raises(CuliError, match="energy MAE .* and force MAE .*: report them apart"):
        write_report([tuning, other], [{}, {}], tmp_path / "report")


def test_two_tunings_keep_their_names_timings_and_machines(tmp_path):
    """Side by side on one page: rows, legends and the machines of each under its own name."""
    tunings = [tuning_in(tmp_path / name, name=name) for name in ("first", "second")]
    tunings[1].trials[2].user_attrs["hardware"] = "GPU <X>"
    timings = [{1: time(1.25)}, {2: time(7.5)}]
    page = write_report(tunings, timings, tmp_path / "report").read_text(encoding="utf-8")
    first, second = page.split("<h2>second</h2>")
    first = first.split("<h2>first</h2>")[1]
    assert "<td>1</td><td>10.0</td><td>8.000</td><td>1.250</td><td>2,000</td>" in first
    assert "<td>1</td><td>10.0</td><td>8.000</td><td>–</td>" in second
    assert "<td>2</td><td>20.0</td><td>2.000</td><td>7.500</td>" in second
    assert "on GPU &lt;X&gt;" in second
    assert "GPU" not in first
    rows = list(csv.DictReader((tmp_path / "report/trials.csv").open()))
    assert [row["study"] for row in rows] == ["first"] * 7 + ["second"] * 7
    assert len(list((tmp_path / "report/best").iterdir())) == 6
    (axes,) = pareto_figure(tunings).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["first, 6 trials", "second, 6 trials", "untuned"]
    stars = [
        line for line in axes.get_lines() if line.get_marker() == "*" and len(line.get_xdata())
    ]
    assert [(*s.get_xdata(), *s.get_ydata()) for s in stars] == [(80, 4)] * 2
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_the_chart_of_the_page_has_trials_the_untuned_and_the_front(tuning):
    from culi_mlip.report.tuning import _interactive

    figure = _interactive([tuning])
    found = {trace.name: trace for trace in figure.data}
    assert list(found) == ["a<b>", "a<b>, untuned", "a<b>, front"]
    assert list(found["a<b>"].x) == pytest.approx([1000 * error for error, _ in VALUES.values()])
    assert list(found["a<b>"].y) == [seconds for _, seconds in VALUES.values()]
    assert (found["a<b>, untuned"].x, found["a<b>, untuned"].y) == ((80,), (4,))
    assert list(found["a<b>, front"].y) == [8, 7, 2, 1]
    assert found["a<b>, front"].text[1] == "trial 4<br>r_max=8"
    assert found["a<b>, front"].line.shape == "hv"
    layout = figure.layout
    assert layout.xaxis.title.text == "Validation force MAE (meV/Å)"
    assert layout.yaxis.title.text == "Inference time, whole test set (s)"
    assert (layout.xaxis.type, layout.yaxis.type) == ("log", "log")


def test_a_front_of_two_has_no_balanced_model_and_balance_is_on_logarithms(tmp_path):
    """Between (1, 100) and (100, 1), (1.1, 32) is nearer to (1, 1) by ratios than (12, 12) is."""
    tuning = tuning_in(tmp_path / "t")
    by_slot = {t.user_attrs["slot"]: t for t in tuning.trials}
    for slot, values in {1: (1, 100), 4: (1.1, 32), 2: (12, 12), 3: (100, 1)}.items():
        by_slot[slot].values = values
    by_slot[0].values = (200, 200)
    assert slots(best_trials(tuning)) == {"most accurate": 1, "fastest": 3, "balanced": 4}
    by_slot[4].values = (1.1, 36)
    assert slots(best_trials(tuning))["balanced"] == 2
    two = Tuning(tuning.folder, tuning.study, 7, [by_slot[1], by_slot[3]])
    assert slots(best_trials(two)) == {"most accurate": 1, "fastest": 3}
