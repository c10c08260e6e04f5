"""md and melt-quench as commands: options, constraints, refusals in one sentence."""

import re

import ase.io
import numpy as np
import pytest
import yaml
from ase.constraints import FixAtoms
from click.testing import CliRunner

from culi_mlip.cli.md import command as md
from culi_mlip.cli.melt_quench import command as melt_quench
from culi_mlip.dynamics.records import read_log
from culi_mlip.errors import CuliError
from culi_mlip.files import read_frames
from culi_mlip.structures import bulk

SHORT = ["--engine", "emt", "--hold", "300", "--hold-time", "0.02", "--to", "290", "--rate", "1000"]

PARTLY_HELD = """copper
1.0
3.6 0.0 0.0
0.0 3.6 0.0
0.0 0.0 3.6
Cu
4
Selective dynamics
Direct
0.00 0.00 0.00 F F F
0.00 0.50 0.51 F F T
0.50 0.00 0.50 T T F
0.50 0.50 0.01 T T T
"""


def run(command, *arguments):
    """The command's output; its error is raised."""
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_melt_quench_writes_what_it_was_asked_for(tmp_path):
    (tmp_path / "POSCAR").write_text(PARTLY_HELD)
    out = tmp_path / "out"
    options = ["--timestep", "1.5", "--seed", "7", "--frames", "3", "--out", out]
    run(melt_quench, tmp_path / "POSCAR", *SHORT, *options)
    inputs = yaml.safe_load((out / "run.yaml").read_text())["inputs"]
    expected = {"hold": 300, "hold_time": 0.02, "to": 290, "rate": 1000, "timestep": 1.5, "seed": 7}
    assert {name: inputs[name] for name in expected} == expected
    assert inputs["calculator"].startswith("ase.calculators.emt.EMT")
    # What is written is run again with the same constraints.
    run(melt_quench, out / "final.extxyz", *SHORT, "--out", tmp_path / "again")
    start = ase.io.read(tmp_path / "POSCAR")
    for file in (out / "final.extxyz", tmp_path / "again" / "final.extxyz"):
        moved = np.abs(read_frames(file)[0].positions - start.positions) > 1e-6
        held = [[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
        assert (~moved).astype(int).tolist() == held


def test_one_folder_is_not_for_another_periodicity_or_constraint(tmp_path):
    free = bulk("Cu", cubic=True)
    free.pbc = (True, True, False)
    fixed, cluster = free.copy(), free.copy()
    fixed.set_constraint(FixAtoms([0, 1]))
    cluster.pbc = False
    for name, atoms in (("free", free), ("fixed", fixed), ("cluster", cluster)):
        ase.io.write(tmp_path / f"{name}.xyz", atoms, format="extxyz")
    out = tmp_path / "out"
    run(melt_quench, tmp_path / "free.xyz", *SHORT, "--out", out)
    for name in ("fixed", "cluster"):
        with pytest.raises(CuliError, match="holds another job .*structure"):
            run(melt_quench, tmp_path / f"{name}.xyz", *SHORT, "--out", out)


@pytest.mark.parametrize(
    ("text", "words"),
    [(PARTLY_HELD.replace("T", "F"), "hold every atom"),
     (PARTLY_HELD.replace("Cu\n4", "4"), "cannot be read as structures"),
     (PARTLY_HELD + "\n0.001 0.0 0.0\n0.0\n", "cannot be read as structures")],
    ids=["all held", "no species", "velocities cut off"],
)  # fmt: skip
def test_structures_that_cannot_be_run_or_read(tmp_path, text, words):
    (tmp_path / "POSCAR").write_text(text)
    with pytest.raises(CuliError, match=words) as found:
        run(melt_quench, tmp_path / "POSCAR", *SHORT, "--out", tmp_path / "out")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_md_options_are_recorded_and_longer_times_continue(tmp_path, trained):
    ase.io.write(tmp_path / "cell.xyz", bulk("Cu", cubic=True), format="extxyz")
    options = ["--model", trained["qdi"], "--temperature", "310", "--initial-temperature", "250",
               "--ensemble", "nve", "--timestep", "2.5", "--stride", "3", "--seed", "5",
               "--device", "cpu", "--out", tmp_path / "md"]  # fmt: skip
    for time, steps in (("0.02", 8), ("0.03", 12)):
        run(md, tmp_path / "cell.xyz", "--time", time, *options)
        inputs = yaml.safe_load((tmp_path / "md" / "run.yaml").read_text())["inputs"]
        expected = {"temperature_K": 310, "initial_temperature_K": 250, "time_ps": float(time),
                    "ensemble": "nve", "timestep_fs": 2.5, "stride": 3, "seed": 5}  # fmt: skip
        assert {name: inputs[name] for name in expected} == expected
        last = (tmp_path / "md" / "log.csv").read_text().splitlines()[-1]
        assert int(last.split(",")[0]) == steps
    first = (tmp_path / "md" / "log.csv").read_text().splitlines()[1]
    assert float(first.split(",")[2]) == pytest.approx(250)


def test_drift_of_a_thermostatted_run_is_that_of_what_it_conserves(tmp_path, trained):
    """The total energy follows the thermostat."""
    ase.io.write(tmp_path / "cell.xyz", bulk("Cu", cubic=True), format="extxyz")
    options = ["--model", trained["allegro"], "--time", "0.04", "--stride", "2", "--device", "cpu"]
    output = run(md, tmp_path / "cell.xyz", *options, "--out", tmp_path / "md")
    log = read_log(tmp_path / "md" / "log.csv")
    slopes = {k: np.polyfit(log["time_ps"], log[k], 1)[0] / 4 for k in ("conserved_eV", "total_eV")}
    (told,) = re.findall(r"conserved energy ([-+.\d]+) meV/atom/ps", output)
    assert float(told) == pytest.approx(1000 * slopes["conserved_eV"], abs=1e-3)
    assert abs(slopes["total_eV"] - slopes["conserved_eV"]) > 1e-3
    late = log["temperature_K"][len(log["step"]) // 2 :]
    assert f"temperature of the second half {late.mean():.0f} K" in output


def test_what_is_said_of_a_hold_is_not_of_the_quench(tmp_path):
    ase.io.write(tmp_path / "cell.xyz", bulk("Cu", cubic=True), format="extxyz")
    options = ["--engine", "emt", "--hold", "600", "--hold-time", "0.1", "--to", "10"]
    output = run(
        melt_quench, tmp_path / "cell.xyz", *options, "--rate", "5000", "--out", tmp_path / "out"
    )
    log = read_log(tmp_path / "out" / "log.csv")
    held = log["time_ps"] <= 0.1 + 1e-9
    assert f"temperature of the hold {log['temperature_K'][held].mean():.0f} K" in output
    slope = np.polyfit(log["time_ps"][held], log["conserved_eV"][held], 1)[0] / 4
    (told,) = re.findall(r"conserved energy ([-+.\d]+) meV/atom/ps", output)
    assert float(told) == pytest.approx(1000 * slope, abs=1e-3)
