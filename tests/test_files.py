"""Files that every user, umask and file system can have."""

import ctypes
import errno
import os
import platform
import signal
import subprocess
import sys

import pytest

from culi_mlip.datasets import Store
from culi_mlip.errors import CuliError, OutputError
from culi_mlip.files import atomic_path, read_frames, write_json, write_text

HOLD = (
    "import sys\nfrom culi_mlip.runs import locked\n"
    "with locked(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()"
)


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002])
def test_results_have_the_mode_that_the_umask_leaves(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "new" / "result.txt", "one")
        write_text(tmp_path / "new" / "result.txt", "two")
        Store(tmp_path / "new" / "store.db")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode for file in (tmp_path / "new").iterdir()}
    assert modes == dict.fromkeys(["result.txt", "store.db"], 0o100666 & ~umask)


def test_a_link_to_a_result_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "errors.json").symlink_to(tmp_path / "disk" / "errors.json")
    write_json(tmp_path / "errors.json", {"a": 1})
    write_json(tmp_path / "errors.json", {"a": 2})
    assert (tmp_path / "errors.json").is_symlink()
    assert '"a": 2' in (tmp_path / "disk" / "errors.json").read_text()
    assert len(list((tmp_path / "disk").iterdir())) == 1


def test_a_folder_or_a_device_is_not_replaced_by_a_result(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OutputError, match="not a regular file"), atomic_path(place):
            pass
    assert (tmp_path / "pipe").is_fifo()


def without_locks(code):
    """Let the kernel answer flock with an error from now on, as some file systems do."""
    number = {"x86_64": 73, "aarch64": 32}.get(platform.machine())
    if sys.platform != "linux" or number is None:
        pytest.skip("flock is forbidden by a filter of Linux")

    class Step(ctypes.Structure):
        _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte),
                    ("value", ctypes.c_uint)]  # fmt: skip

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.POINTER(Step))]

    load, equal, answer, allow, fail = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
    steps = (Step * 4)(
        Step(load, 0, 0, 0), Step(equal, 0, 1, number),
        Step(answer, 0, 0, fail | code), Step(answer, 0, 0, allow),
    )  # fmt: skip

    def forbid():
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        if libc.prctl(22, 2, ctypes.byref(Filter(4, steps)), 0, 0):  # PR_SET_SECCOMP
            os._exit(77)

    return forbid


def holder(folder, **options):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize("code", [None, errno.ENOSYS, errno.ENOLCK])
def test_a_lock_ends_with_its_process_whatever_the_file_system(tmp_path, code):
    options = {"preexec_fn": without_locks(code)} if code else {}
    (tmp_path / ".lock").touch()  # as an earlier run may have left it
    first = holder(tmp_path, **options)
    if first.stdout.readline() != "held\n":
        first.wait()
        assert first.returncode == 77, first.stderr.read()
        pytest.skip("this kernel takes no filters of system calls")
    refused = holder(tmp_path, **options).communicate()[1]
    assert f"CuliError: another process is working in {tmp_path}: wait" in refused
    assert ("remove" in refused) == bool(code)
    first.send_signal(signal.SIGKILL)
    first.wait()
    after = holder(tmp_path, **options)
    assert after.communicate("")[0] == "held\n"
    assert after.returncode == 0


@pytest.mark.parametrize("suffix", ["xyz", "extxyz", "cif", "vasp", "traj", "json", "db", "xml"])
@pytest.mark.parametrize("content", [b"", b"\0\xff\x80what\n\n1 2 3\n"], ids=["empty", "garbage"])
def test_damaged_structure_files_are_refused_and_left_as_they_are(tmp_path, suffix, content):
    path = tmp_path / f"cell.{suffix}"
    path.write_bytes(content)
    with pytest.raises(CuliError, match=rf"cell\.{suffix}"):
        read_frames(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_whose_name_has_an_at_sign_is_that_file(tmp_path):
    from ase.build import bulk
    from ase.io import write

    write(tmp_path / "run@2.xyz", [bulk("Cu")] * 3, format="extxyz")
    assert len(read_frames(tmp_path / "run@2.xyz")) == 3
