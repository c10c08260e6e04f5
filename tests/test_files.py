"""Files that every user, umask and file system can have."""

import ctypes
import errno
import hashlib
import os
import platform
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from culi_mlip.datasets import Store
from culi_mlip.errors import CuliError, OutputError, StructureError
from culi_mlip.files import (
    atomic_path,
    file_digest,
    file_lock,
    output_errors,
    read_arrays,
    read_frames,
    read_json,
    read_structures,
    write_frames,
    write_json,
    write_text,
    xyz_text,
)

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


def test_rows_of_a_database_bring_their_values_where_frames_have_them(tmp_path):
    """Key-value pairs and data are information; data of each atom in three columns are arrays."""
    from ase.build import bulk
    from ase.db import connect

    atoms = bulk("Cu", cubic=True)
    data = {"REF_forces": np.arange(12.0).reshape(4, 3), "virial": np.arange(9.0).reshape(3, 3),
            "charges": np.arange(4.0)}  # fmt: skip
    with connect(tmp_path / "frames.db") as database:
        database.write(atoms, REF_energy=-3.5, data=data)
        database.write(bulk("Li"), REF_energy=-1.5)
    first, second = read_frames(tmp_path / "frames.db")
    assert (first.info["REF_energy"], second.info["REF_energy"]) == (-3.5, -1.5)
    assert first.arrays["REF_forces"].tolist() == data["REF_forces"].tolist()
    assert "REF_forces" not in first.info
    assert np.array(first.info["virial"]).tolist() == data["virial"].tolist()
    assert np.array(first.info["charges"]).tolist() == [0, 1, 2, 3]
    assert str(second.symbols) == "Li"


def test_structures_of_a_folder_are_read_by_name_and_others_left(tmp_path):
    from ase.build import bulk
    from ase.io import write

    for name, length in (("c.traj", 3.3), ("a.extxyz", 3.1), ("b.cif", 3.2), ("POSCAR", 3.0),
                         ("d.vasp", 3.4), ("e.xyz", 3.5), ("CONTCAR", 2.9)):  # fmt: skip
        options = {"format": "extxyz"} if name.endswith("xyz") else {}
        write(tmp_path / name, bulk("Cu", a=length, cubic=True), **options)
    (tmp_path / "notes.txt").write_text("none")
    lengths = [atoms.cell.lengths()[0] for atoms in read_structures(tmp_path)]
    assert lengths == pytest.approx([2.9, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5])
    (one,) = read_structures(tmp_path / "b.cif")
    assert one.cell.lengths()[0] == pytest.approx(3.2)


def test_values_of_numpy_and_paths_are_plain_in_json_and_come_back(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"n": np.int64(3), "x": np.array([[1.5, 2.0]]), "p": tmp_path / "q", "é": "é"})
    assert read_json(path) == {"n": 3, "x": [[1.5, 2.0]], "p": str(tmp_path / "q"), "é": "é"}
    assert path.read_text().endswith("}\n")
    with pytest.raises(CuliError, match=r"none.json does not exist: check the path"):
        read_json(tmp_path / "none.json")


def test_arrays_come_back_all_and_those_that_are_missing_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.eye(2))
    found = read_arrays(tmp_path / "a.npz", "x")
    assert {name: array.tolist() for name, array in found.items()} == {
        "x": [0, 1, 2], "y": [[1, 0], [0, 1]]
    }  # fmt: skip
    with pytest.raises(CuliError, match=r"a.npz is damaged \(.*z.*\): remove it"):
        read_arrays(tmp_path / "a.npz", "x", "z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n\nCu 0 0 0\n\n\nmany\n\nCu 0 0 0\n", "line 6: 'many' is not the number of atoms"),
        ("1\n\nCu 0 0 0\n2\n\nCu 0 0 0\n", "line 4: frame 1 is empty or has fewer than 2 atoms"),
        ("1\n\nCu 0 0 0\n1\n\nCu 0 inf 0\n", "frame 1: the position of atom 0 is NaN or infinite"),
        ('1\nLattice="3 0 0 0 nan 0 0 0 3"\nCu 0 0 0\n', "frame 0: the cell holds NaN"),
        ("1\n\nCu 0 0 0\n1\n\nX 0 0 0\n", "frame 1: X is no element"),
    ],
)  # fmt: skip
def test_a_wrong_frame_is_named_by_its_place(tmp_path, text, message):
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(StructureError, match=re.escape(message)):
        read_frames(tmp_path / "a.xyz")


def test_frames_go_and_come_in_their_order_with_labels_and_vectors(tmp_path):
    from ase.build import bulk
    from ase.calculators.emt import EMT

    frames = [bulk("Cu", a=3.5 + 0.05 * i, cubic=True) for i in range(3)]
    for atoms in frames:
        atoms.calc = EMT()
        atoms.get_forces()
    write_frames(tmp_path / "deep/a.xyz", frames)
    text = (tmp_path / "deep/a.xyz").read_text()
    assert xyz_text(tmp_path / "deep/a.xyz") == text
    found = read_frames(tmp_path / "deep/a.xyz")
    energies = [atoms.get_potential_energy() for atoms in frames]
    assert [atoms.get_potential_energy() for atoms in found] == pytest.approx(energies)
    (tmp_path / "e.xyz").write_text("1\n\nCu 0 0 1\n1\n\nLi 0 0 2")  # no line ends the file
    assert [str(a.symbols) for a in read_frames(tmp_path / "e.xyz")] == ["Cu", "Li"]
    vectors = "1\nframe\nCu 0 0 0\nVEC1 3 0 0\nVEC2 0 4 0\nVEC3 0 0 5\n"
    (tmp_path / "v.xyz").write_text("\n" + vectors + "\n \n" + vectors)
    assert [a.cell.lengths().tolist() for a in read_frames(tmp_path / "v.xyz")] == [[3, 4, 5]] * 2


def test_what_cannot_be_written_says_why_and_a_lock_is_of_its_folder(tmp_path):
    def fail():
        raise OSError(errno.ENOSPC, "whatever")

    words = "cannot write here: no space left on device; free some"
    with pytest.raises(OutputError, match=words), output_errors("here"):
        fail()
    lock = tmp_path / ".lock"
    with file_lock(lock), pytest.raises(CuliError, match=f"in {tmp_path}: "), file_lock(lock):
        pass


def test_a_frame_without_atoms_is_refused_wherever_it_stands(tmp_path):
    from ase import Atoms
    from ase.build import bulk
    from ase.io import write

    write(tmp_path / "a.traj", [bulk("Cu"), Atoms()])
    with pytest.raises(StructureError, match=r"a.traj is empty: .* at least one atom in each"):
        read_frames(tmp_path / "a.traj")


def test_the_digest_of_a_file_is_its_sha_256(tmp_path):
    """The examples of FIPS 180-4, and a file of several blocks."""
    for content, digest in (
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (long := bytes(range(256)) * 12_289, hashlib.sha256(long).hexdigest()),
    ):
        (tmp_path / "file").write_bytes(content)
        assert file_digest(tmp_path / "file") == digest
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "none")
