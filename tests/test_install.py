"""Installation by constraints.txt on each Python that is promised."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import culi_mlip

ROOT = Path(culi_mlip.__file__).parent.parent
PROMISED = ["3.10", "3.11", "3.12", "3.13"]
NOT_PINNED = re.compile(r"(nvidia-(cu|n[cv])|cuda-|triton)")
"""What follows from torch's version and build; see the target `constraints` of the Makefile."""


def project():
    """What pyproject.toml requires, read without tomllib, which Python 3.10 lacks."""
    text = (ROOT / "pyproject.toml").read_text()
    lists = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    return {Requirement(found) for found in re.findall(r'"([^"]+)"', lists)}


def pins(python):
    """Pinned versions by name, as they hold for a Python on this kind of system."""
    environment = {"python_version": python, "python_full_version": f"{python}.5"}
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(environment):
            (version,) = pin.specifier
            found.setdefault(canonicalize_name(pin.name), []).append(Version(version.version))
    return found


@pytest.mark.parametrize("python", PROMISED)
def test_each_requirement_has_one_pin_that_fits(python):
    pinned = pins(python)
    assert not {name: found for name, found in pinned.items() if len(found) > 1}
    environment = {"python_version": python, "python_full_version": f"{python}.5"}
    for wanted in project():
        if wanted.name != "culi-mlip" and (
            not wanted.marker or wanted.marker.evaluate(environment)
        ):
            (version,) = pinned[canonicalize_name(wanted.name)]
            assert version in wanted.specifier, wanted


def test_each_dependency_is_one_that_the_package_imports():
    """A package that another one brings is that one's to declare."""
    imported = set()
    for file in Path(culi_mlip.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    text = (ROOT / "pyproject.toml").read_text()
    lists = text[text.index("\ndependencies = [") : text.index("[project.optional-dependencies]")]
    declared = {Requirement(found).name for found in re.findall(r'"([^"]+)"', lists)}
    modules = {"nequip-allegro": "allegro", "pyyaml": "yaml"}
    assert not {name for name in declared if modules.get(name, name) not in imported}


@pytest.mark.parametrize(
    "python", ["3.10", *(pytest.param(python, marks=pytest.mark.slow) for python in PROMISED[1:])]
)
def test_constraints_resolve(python, tmp_path):
    """All that is installed is pinned, and there is a set of it for this Python."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed: pip install uv")
    done = subprocess.run(
        [uv, "pip", "compile", ROOT / "pyproject.toml", "--all-extras", "--no-python-downloads",
         "--constraint", ROOT / "constraints.txt", "--python-version", python, "--no-header",
         "--no-annotate", "--quiet"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and re.search("Failed to fetch|error sending request|dns", done.stderr):
        pytest.skip(f"no package index can be reached: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    pinned = pins(python)
    for line in done.stdout.splitlines():
        name, version = line.split(";")[0].strip().split("==")
        if not NOT_PINNED.match(name):
            assert pinned.get(name) == [Version(version)], line
