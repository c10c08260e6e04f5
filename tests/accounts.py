"""A second account of this machine, for tests that run as root."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import culi_mlip

NEEDED = [Path(sys.base_prefix), Path(sys.prefix), Path(culi_mlip.__file__).parent.parent]
"""What another user must be able to read: the interpreter, the environment, the package."""

NAME = f"culi-mlip-{os.getpid()}"


class Account(NamedTuple):
    """What runs a command as an account, and the account's home."""

    run: Callable[..., subprocess.CompletedProcess[str]]
    home: Path


@contextmanager
def second_account():
    """Make an account, and remove it afterwards.

    Folders above the interpreter may be closed to others, as root's home is. Commands see open ones
    in their place, with nothing but the interpreter in them: mounts in a namespace of their own.
    """
    if os.getuid() != 0 or not all(map(shutil.which, ("useradd", "userdel", "unshare", "setpriv"))):
        pytest.skip("a second account needs root, useradd, unshare and setpriv")
    home = Path(tempfile.mkdtemp(prefix="culi-mlip-home-"))
    account = ["useradd", "--no-create-home", "--user-group", "--home-dir", str(home), NAME]
    made = subprocess.run(account, capture_output=True, text=True, check=False)
    if made.returncode:
        home.rmdir()
        pytest.skip(f"a second account cannot be made here: {made.stderr.strip()}")
    shutil.chown(home, NAME, NAME)
    user = ["setpriv", "--reuid", NAME, "--regid", NAME, "--init-groups"]

    def run(*command, umask=0o022, cwd=home, **environment):
        whole = shlex.join([*user, *map(str, command)])
        place = shlex.quote(str(cwd))
        script = [*_open_folders(), f"umask {umask:o}", f"cd {place}", f"exec {whole}"]
        own = {
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "HOME": str(home),
            "USER": NAME,
            "PYTHONPATH": str(NEEDED[-1]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", "\n".join(script)],
            env=own | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    try:
        yield Account(run, home)
    finally:
        subprocess.run(["userdel", NAME], check=True, capture_output=True)
        shutil.rmtree(home)


def _open_folders():
    """Shell commands that put open folders in the place of closed ones above what is needed."""
    closed = {}
    for path in NEEDED:
        for above in reversed(path.parents):
            if not above.stat().st_mode & 0o001:
                closed.setdefault(above, []).append(path)
                break
    commands = ["mount -t tmpfs tmpfs /mnt"] if closed else []
    for above, paths in closed.items():
        kept = [(shlex.quote(str(path)), f"/mnt/{NEEDED.index(path)}") for path in paths]
        commands += [f"mkdir {place} && mount --bind {path} {place}" for path, place in kept]
        commands.append(f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(above))}")
        commands += [f"mkdir -p {path} && mount --bind {place} {path}" for path, place in kept]
    return commands
