"""Commands in this process."""

import pytest
from click.testing import CliRunner

from culi_mlip.cli import group


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in this process, in a folder of its own; gives its standard output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("culi_mlip.cli.console.out.width", 200)

    def command(*arguments):
        done = CliRunner().invoke(group, [*map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return command
