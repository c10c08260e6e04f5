"""VASP's own MD and relaxations: what a real run printed, replayed leg by leg and read back."""

import gzip
import json
import re
import stat
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
import yaml
from ase import units
from ase.io.vasp import read_vasp as read_poscar

from culi_mlip.cli import main
from culi_mlip.dynamics import Schedule, melt_quench
from culi_mlip.errors import EngineError
from culi_mlip.files import read_frames, write_frames
from culi_mlip.reference import VaspSettings, get_engine, vasp_trajectories
from culi_mlip.reference.vasp_outputs import read_vasp
from culi_mlip.reference.vasp_trajectories import remaining_stage
from culi_mlip.structures import bulk

REPLAY = r'''#!{python}
"""Copies steps of a real OUTCAR after those of the legs before; fails after -n of them."""
import gzip, json, pathlib, re, sys
source, most = pathlib.Path({source!r}), json.loads(pathlib.Path({plan!r}).read_text())
opened = gzip.open(source, "rt", errors="replace") if source.suffix == ".gz" else source.open()
head, *steps = re.split(r"(?m)^(?=-+ Iteration +\d+\(   1\))", opened.read())
if {backwards}:
    steps.reverse()
here = pathlib.Path.cwd()
before = sum(
    leg.joinpath("OUTCAR").read_text().count("LOOP+:")
    for leg in here.parent.iterdir() if leg != here and leg.joinpath("OUTCAR").exists()
)
wanted = int(re.search(r"NSW = (\d+)", pathlib.Path("INCAR").read_text())[1])
ask = most.pop(0)
n = min(wanted, abs(ask), len(steps) - before)
if not n:
    pathlib.Path({plan!r}).write_text(json.dumps(most))
    sys.exit(1)
pathlib.Path({plan!r}).write_text(json.dumps(most))
pathlib.Path("OUTCAR").write_text(head + "".join(steps[before:before + n]))
pathlib.Path("OSZICAR").write_text("F=\n" * n)

def positions(step):
    block = re.search(r"POSITION +TOTAL-FORCE.*\n -+\n((?: .*\n)+?) -+\n", step)[1]
    return [[float(x) for x in line.split()[:3]] for line in block.splitlines()]

last = positions(steps[before + n - 1])
after = positions(steps[min(before + n, len(steps) - 1)])
poscar = pathlib.Path("POSCAR").read_text().splitlines()
body = next(i for i, line in enumerate(poscar) if line.strip() == "Cartesian")
lines = poscar[:body + 1] + [" ".join("%.16f" % x for x in row) for row in after] + [""]
lines += [" ".join("%.8E" % ((b - a) / 2) for a, b in zip(*rows)) for rows in zip(last, after)]
pathlib.Path("CONTCAR").write_text("\n".join(lines) + "\n")
sys.exit(ask < 0)
'''


@pytest.fixture
def replay(potentials, tmp_path, monkeypatch):
    """Return how to let VASP's process be the steps of a real OUTCAR, so many a leg at most."""

    def replayed(source, steps, backwards=False):
        plan = tmp_path / "plan.json"
        plan.write_text(json.dumps(steps))
        program = tmp_path / "vasp_std"
        values = {"python": sys.executable, "source": str(source), "plan": str(plan)}
        values["backwards"] = backwards
        text = re.sub(
            r"\{(python|source!r|plan!r|backwards)\}", lambda m: _filled(m[1], values), REPLAY
        )
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("ASE_VASP_COMMAND", str(program))
        monkeypatch.chdir(tmp_path)

    return replayed


def _filled(word, values):
    name = word.removesuffix("!r")
    return repr(values[name]) if word != name else str(values[name])


LPS = VaspSettings(
    functional="pbe",
    cutoff=400,
    energy_tolerance=8e-5,
    smearing="gaussian",
    width=0.05,
    kpoint_length=1.0,
    potentials={},
    corrections=0,
)


SCHEDULE = Schedule(hold=600, to=596, rate=333.5, hold_time=0.008)


def shuffled(atoms):
    """An order in which species mix, of which VASP's is the order of the output."""
    symbols = np.array(atoms.get_chemical_symbols())
    species = list(dict.fromkeys(symbols))
    mixed = np.random.default_rng(0).permutation(symbols)
    order = np.empty(len(atoms), int)
    for s in species:
        order[mixed == s] = np.flatnonzero(symbols == s)
    first = [int(np.flatnonzero(symbols == s)[0]) for s in species]
    return first + [int(i) for i in order if i not in first]


def quench(outputs, out, engine=None):
    real = read_vasp(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz")
    order = shuffled(real.frames[0])
    engine = engine or get_engine("vasp", LPS)
    atoms = real.frames[0][order]
    result = melt_quench(atoms, engine.own_dynamics, SCHEDULE, out=out, stride=1)
    return real, order, result


def tags(leg, *names):
    text = (leg / "INCAR").read_text()
    return [float(re.search(rf"\b{name} = (\S+)", text)[1]) for name in names]


def test_md_goes_on_where_vasp_stopped_and_the_ramp_never_starts_again(replay, outputs, tmp_path):
    """A process that ends early twice: in the hold, and in the ramp."""
    assert SCHEDULE.stages == [(4, 600, 600), (6, 600, 596)]
    replay(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", [3, 1, 2, 10])
    quench(outputs, tmp_path / "run")
    legs = sorted((tmp_path / "run" / "steps").iterdir())
    assert [tags(leg, "NSW", "TEBEG", "TEEND") for leg in legs] == [
        [4, 600, 600],
        [1, 600, 600],
        [6, 600, 596],
        [4, pytest.approx(600 - 4 * 2 / 6), 596],
    ]
    assert all(tags(leg, "IBRION", "MDALGO", "POTIM") == [0, 2, 2] for leg in legs)
    for leg, next_leg in pairwise(legs):
        end, begin = read_poscar(leg / "CONTCAR"), read_poscar(next_leg / "POSCAR")
        np.testing.assert_allclose(begin.positions, end.positions, atol=1e-9)
        np.testing.assert_allclose(begin.get_velocities(), end.get_velocities(), atol=1e-8)
        assert np.abs(end.get_velocities()).max() > 1e-3
    drawn = read_poscar(legs[0] / "POSCAR")  # of our seed, not VASP's
    degrees = 3 * len(drawn) - 3  # "VASP found 249 degrees of freedom", says that OUTCAR
    assert degrees == 249
    assert 2 * drawn.get_kinetic_energy() / (degrees * units.kB) == pytest.approx(600, rel=1e-6)


def test_steps_are_those_of_the_output_in_the_order_of_the_structure(replay, outputs, tmp_path):
    replay(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", [3, 1, 2, 10])
    real, order, result = quench(outputs, tmp_path / "run")
    frames = read_frames(result.trajectory)
    assert len(frames) == len(real.frames) == 10
    for frame, step in zip(frames, real.frames, strict=True):
        assert list(frame.symbols) == list(step.symbols[order])
        assert frame.get_potential_energy() == pytest.approx(step.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(frame.get_forces(), step.get_forces()[order], atol=1e-6)
        np.testing.assert_allclose(frame.get_stress(), step.get_stress(), atol=1e-6)
        np.testing.assert_allclose(frame.positions, step.positions[order], atol=1e-5)
    np.testing.assert_allclose(result.log["kinetic_eV"], real.kinetic)
    np.testing.assert_allclose(result.log["conserved_eV"], real.conserved)
    temperatures = 2 * np.array(real.kinetic) / (249 * units.kB)  # the OUTCAR's own count
    np.testing.assert_allclose(result.log["temperature_K"], temperatures)
    end = read_poscar(tmp_path / "run" / "steps" / "03" / "CONTCAR")
    velocities = read_frames(result.final)[0].get_velocities()
    np.testing.assert_allclose(velocities, end.get_velocities()[order], atol=1e-8)
    without = [n for n, frame in enumerate(frames) if not frame.has("momenta")]
    assert without == [0, 1, 4, 6, 7, 8], "VASP writes those of a leg's end only"


def test_command_that_was_killed_goes_on(replay, outputs, tmp_path, monkeypatch):
    """The third leg's process fails; the same call takes the four steps that were made."""
    replay(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", [3, 1, 0, 2, 10])
    with pytest.raises(EngineError, match="VASP failed in .*02"):
        quench(outputs, tmp_path / "run")
    _, _, result = quench(outputs, tmp_path / "run")
    assert list(result.log["step"]) == list(range(10))
    legs = sorted((tmp_path / "run" / "steps").iterdir())
    assert [tags(leg, "NSW")[0] for leg in legs] == [4, 1, 6, 4]


def test_quench_goes_on_after_vasp_failed_in_the_middle(replay, outputs, tmp_path):
    replay(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", [4, -2, 10])
    with pytest.raises(EngineError, match="VASP failed in .*01"):
        quench(outputs, tmp_path / "alone")  # LPS has no corrections
    replay(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", [4, -2, 10])
    engine = get_engine("vasp", LPS.model_copy(update={"corrections": 1}))
    _, _, result = quench(outputs, tmp_path / "run", engine)
    assert len(result.log["step"]) == 10
    legs = sorted((tmp_path / "run" / "steps").iterdir())
    assert [tags(leg, "NSW")[0] for leg in legs] == [4, 6, 4]


@pytest.mark.parametrize("cut", ["in the energies", "before EKIN", "empty CONTCAR", "half CONTCAR"])
def test_files_that_a_kill_cut_do_not_stop_the_next_run(replay, outputs, tmp_path, cut):
    """The leg's whole steps count, or it is begun again."""
    replay(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", [4, 3, 0])
    with pytest.raises(EngineError):
        quench(outputs, tmp_path / "run")
    leg = tmp_path / "run" / "steps" / "01"
    outcar, contcar = leg / "OUTCAR", leg / "CONTCAR"
    text = outcar.read_text()
    if cut == "in the energies":
        outcar.write_text(text[: text.rfind("FREE ENERGIE") + 100])
    elif cut == "before EKIN":
        outcar.write_text(text[: text.rfind("kinetic energy EKIN") - 5])
    elif cut == "empty CONTCAR":
        contcar.write_text("")
    else:
        lines = contcar.read_text().splitlines()
        contcar.write_text("\n".join(lines[:-30]))
    replay(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", [10, 10])
    _, _, result = quench(outputs, tmp_path / "run")
    assert list(result.log["step"]) == list(range(10))
    legs = sorted((tmp_path / "run" / "steps").iterdir())
    left = 3 if "CONTCAR" in cut else 4  # of the third, which the killed run began already
    assert [tags(leg, "NSW")[0] for leg in legs] == [4, 6, left]


def test_relaxation_goes_on_and_gives_its_steps(replay, outputs, tmp_path):
    """Steps of MD backwards, whose forces fall from 1.10 to 0.14 eV/Å: the ninth has 0.28."""
    source = outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz"
    real = read_vasp(source).frames[::-1]
    replay(source, [4, 3, 2], backwards=True)
    engine = get_engine("vasp", LPS)
    frames = engine.relax(real[0], tmp_path / "run", force=0.3, steps=12)
    assert len(frames) == 9
    for frame, step in zip(frames, real, strict=False):
        assert frame.get_potential_energy() == pytest.approx(step.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(frame.get_forces(), step.get_forces())
    legs = sorted((tmp_path / "run").iterdir())
    assert [tags(leg, "NSW", "EDIFFG", "IBRION") for leg in legs] == [
        [12, -0.3, 2],
        [8, -0.3, 2],
        [5, -0.3, 2],
    ]
    assert len(engine.relax(real[0], tmp_path / "run", force=0.3, steps=12)) == 9  # runs nothing
    replay(source, [1], backwards=True)
    further = engine.relax(real[0], tmp_path / "run", force=0.2, steps=12)
    assert len(further) == 10
    replay(source, [2], backwards=True)
    with pytest.raises(EngineError, match="did not reach 0.3 eV/Å in 2 steps"):
        engine.relax(real[0], tmp_path / "short", force=0.3, steps=2)


def test_step_without_converged_electrons_is_refused(replay, outputs, tmp_path):
    with gzip.open(outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", "rt") as packed:
        text = packed.read()
    source = tmp_path / "OUTCAR"
    source.write_text(text.replace("aborting loop because EDIFF is reached", "", 1))
    replay(source, [5])
    engine = get_engine("vasp", LPS)
    with pytest.raises(EngineError, match="electrons did not converge in a step of"):
        engine.relax(read_vasp(source).frames[0], tmp_path / "run")


def test_command_hands_the_quench_to_vasp(replay, outputs, tmp_path, capsys):
    source = outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz"
    replay(source, [10, 10])
    write_frames("start.xyz", [read_vasp(source).frames[0]])
    (tmp_path / "vasp.yaml").write_text(yaml.safe_dump(LPS.model_dump()))
    arguments = "melt-quench start.xyz --engine vasp --settings vasp.yaml --hold 600 --to 596"
    arguments += " --rate 333.5 --hold-time 0.008 --frames 2 --out run"
    with pytest.raises(SystemExit, match="0"):
        main(arguments.split())
    assert [tags(leg, "NSW")[0] for leg in sorted(tmp_path.glob("run/steps/*"))] == [4, 6]
    assert len(read_frames(tmp_path / "run" / "chosen.extxyz")) >= 1
    (tmp_path / "vasp.yaml").write_text("cutof: 400")
    with pytest.raises(SystemExit, match="2"):
        main([*arguments.split()[:-1], "other"])
    assert "nearest valid key is 'cutoff'" in capsys.readouterr().err


def test_relaxation_without_vasp_is_one_sentence(potentials, tmp_path, monkeypatch):
    monkeypatch.delenv("ASE_VASP_COMMAND", raising=False)
    with pytest.raises(EngineError, match="no command for VASP"):
        get_engine("vasp").relax(bulk("Li"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_steps_of_a_leg_that_runs_are_counted_after_those_before(tmp_path, monkeypatch):
    monkeypatch.setattr(vasp_trajectories, "_POLL", 0.01)
    for written, expected in ((2, (5, 7)), (9, (7, 7))):
        (tmp_path / "OSZICAR").write_text("RMM:  1  -0.1\n   1 F= -.1E+01 E0= -.1E+01\n" * written)
        told, is_told = [], threading.Event()

        def progress(*numbers, told=told, is_told=is_told):
            told.append(numbers)
            is_told.set()

        with vasp_trajectories._watched(tmp_path, 3, 7, progress):
            is_told.wait(20)
        assert set(told) == {expected}


def test_remaining_stage():
    stages = [(500, 600.0, 600.0), (1180, 600.0, 10.0)]
    assert remaining_stage(stages, 0) == (500, 600, 600)
    assert remaining_stage(stages, 499) == (1, 600, 600)
    assert remaining_stage(stages, 500) == (1180, 600, 10)
    assert remaining_stage(stages, 500 + 590) == (590, 305, 10)
