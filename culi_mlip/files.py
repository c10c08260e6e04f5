"""Reading structures and writing results, so that nothing is ever half-written."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_dir

from culi_mlip.errors import CuliError, OutputError, StructureError

CONSTRAINTS_KEY = "ase_constraints"
"""In a frame's info: ASE's dictionaries of constraints that extended XYZ has no column for."""


@contextmanager
def output_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into an `OutputError` that names the path."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise OutputError(
            f"cannot write {path}: {reason}; free some space or choose another folder, then run "
            "the same command again"
        ) from error


def cache_folder(name: str) -> Path:
    """Return a folder of the user's cache: in CULI_MLIP_CACHE, or where the system keeps caches."""
    place = os.environ.get("CULI_MLIP_CACHE") or user_cache_dir("culi_mlip", appauthor=False)
    return Path(place, name)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; it becomes `path` only when the block succeeds.

    The file has the mode that the umask leaves. Where `path` is a symbolic link, the file that it
    names is replaced and the link stays.

    Raises
    ------
    OutputError
        If the disk is full, the folder may not be written, or `path` is a folder or a device.
    """
    final = Path(os.path.realpath(path))
    if final.exists() and not final.is_file():
        raise OutputError(f"cannot write {path}: it is not a regular file; give another path")
    with output_errors(path):
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.stem}.{secrets.token_hex(4)}{final.suffix}")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield temporary
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def file_lock(path: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file, which ends with the process however that ends.

    On a file system without locks, a second file beside it names the process that holds it, and is
    taken over on the same machine when that process is gone.

    Parameters
    ----------
    path
        The file, which is made where it is missing.
    wait
        Whether to wait for another process that holds the lock.

    Raises
    ------
    CuliError
        If another process holds the lock.
    OutputError
        If the file cannot be written.
    """
    folder, timeout = Path(path).parent, -1 if wait else 0
    held: BaseFileLock = FileLock(path, timeout, fallback_to_soft=False)
    remedy = "wait for it or choose another folder"
    with output_errors(path):
        try:
            try:
                held.acquire()
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                    raise
                # Not at once: a holder that is gone is found out before the second try.
                held = SoftFileLock(f"{path}.holder", timeout or 1)
                remedy += f", or remove {held.lock_file} if that process is gone"
                held.acquire()
        except Timeout:
            raise CuliError(f"another process is working in {folder}: {remedy}") from None
    try:
        yield
    finally:
        held.release()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in one step, replacing the old one."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a binary file in one step, replacing the old one."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON in one step; numpy numbers and arrays are welcome."""
    write_text(path, json.dumps(content, indent=2, default=_plain) + "\n")


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file.

    Raises
    ------
    CuliError
        If the file is missing or not text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CuliError(f"{path} does not exist: check the path") from error
    except (ValueError, OSError) as error:
        raise CuliError(f"{path} is not a readable text file ({error})") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises
    ------
    CuliError
        If the file is missing or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise CuliError(f"{path} is not a readable JSON file ({error})") from error


def read_arrays(path: str | os.PathLike[str], *names: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of an ``.npz`` file, which must have those that are named.

    Raises
    ------
    CuliError
        If the file is missing, damaged or something else.
    """
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in {*arrays, *names}}
    except Exception as error:  # zipfile, zlib and numpy raise their own each
        raise CuliError(f"{path} is damaged ({_reason(error)}): {_ANEW}") from error


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal digits. The file may be larger than the memory.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_frames(path: str | os.PathLike[str], frames: list[Atoms]) -> None:
    """Write frames with their labels as one extended XYZ file, in one step."""
    import ase.io

    with atomic_path(path) as temporary:
        ase.io.write(temporary, frames, format="extxyz")


def read_frames(path: str | os.PathLike[str]) -> list[Atoms]:
    """Read all frames of a structure file that ASE knows, or of an ASE database.

    Of a database, key-value pairs and data go into ``info``, and data of each atom into
    ``arrays``.

    Returns
    -------
    list of Atoms
        At least one, each with at least one atom and finite positions and cell.

    Raises
    ------
    StructureError
        If the file is missing, unreadable or empty, or a frame has NaN or infinite numbers.
    """
    import ase.io

    source = Path(path)
    if not source.is_file():
        raise StructureError(f"{path} does not exist: give the path of a structure file")
    if source.stat().st_size == 0:
        raise StructureError(f"{path} is empty: give a file with at least one structure")
    try:
        if source.suffix in {".xyz", ".extxyz"} or _is_xyz(source):
            frames = ase.io.read(io.StringIO(xyz_text(source)), index=":", format="extxyz")
        elif source.suffix in {".db", ".json"}:
            frames = _database_frames(source)
        else:
            frames = ase.io.read(source, index=":", do_not_split_by_at_sign=True)
    except StructureError:
        raise
    except Exception as error:  # ASE's readers may fail in any way
        raise StructureError(
            f"{path} cannot be read as structures by ASE ({_reason(error)})"
        ) from error
    if not frames or any(len(atoms) == 0 for atoms in frames):
        raise StructureError(f"{path} is empty: give a file with at least one atom in each frame")
    for i, atoms in enumerate(frames):
        check_finite(atoms, f"{path}, frame {i}")
        if not atoms.numbers.all():
            raise StructureError(f"{path}, frame {i}: X is no element: name the species")
        _restore_constraints(atoms, f"{path}, frame {i}")
    return list(frames)


def _is_xyz(path: Path) -> bool:
    """Whether ASE takes a file, which may be packed, for (extended) XYZ."""
    from ase.io.formats import filetype

    try:
        return filetype(str(path)) in {"xyz", "extxyz"}
    except Exception:  # of a format that it does not know, or of unpacking
        return False


def xyz_text(path: str | os.PathLike[str]) -> str:
    """Return an extended XYZ file without the empty lines between frames, where ASE would stop.

    The file may be packed.

    Raises
    ------
    StructureError
        If a frame is cut off or does not begin with its number of atoms.
    """
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as stream:
        lines = stream.read().decode(errors="surrogateescape").split("\n")
    kept: list[str] = []
    n_frames = start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        try:
            n_atoms = int(lines[start])
        except ValueError as error:
            raise StructureError(
                f"{path}, line {start + 1}: '{lines[start].strip()[:40]}' is not the number of "
                f"atoms of frame {n_frames}"
            ) from error
        end = start + 2 + n_atoms
        if n_atoms < 1 or end > len(lines) or not lines[end - 1].strip():
            raise StructureError(
                f"{path}, line {start + 1}: frame {n_frames} is empty or has fewer than {n_atoms} "
                "atoms"
            )
        while end < len(lines) and lines[end].lstrip().startswith("VEC"):  # vectors of the cell
            end += 1
        kept += lines[start:end]
        start, n_frames = end, n_frames + 1
    return "\n".join([*kept, ""])


def _database_frames(source: Path) -> list[Atoms]:
    import ase.db

    frames = []
    with ase.db.connect(source, use_lock_file=False) as database:
        for row in database.select():
            atoms = row.toatoms()
            for key, value in {**row.key_value_pairs, **row.data}.items():
                if np.shape(value)[:1] == (len(atoms),) and np.ndim(value) == 2:
                    atoms.arrays[key] = np.asarray(value)
                else:
                    atoms.info[key] = value
            frames.append(atoms)
    return frames


def read_structures(path: str | os.PathLike[str]) -> list[Atoms]:
    """Read all frames of a structure file, or of every structure file in a folder.

    Raises
    ------
    StructureError
        As `read_frames`, or if the folder holds no structure file.
    """
    source = Path(path)
    if not source.is_dir():
        return read_frames(source)
    suffixes = {".xyz", ".extxyz", ".cif", ".vasp", ".traj"}
    files = [
        file
        for file in sorted(source.iterdir())
        if file.suffix in suffixes or file.name in ("POSCAR", "CONTCAR")
    ]
    if not files:
        raise StructureError(
            f"{path} holds no structure file: give one with {', '.join(sorted(suffixes))} files"
        )
    return [atoms for file in files for atoms in read_frames(file)]


def check_finite(atoms: Atoms, name: str) -> None:
    """Raise a `StructureError` if positions or cell hold NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise StructureError(f"{name}: the position of atom {bad[0]} is NaN or infinite: mend it")
    if not np.isfinite(atoms.cell.array).all():
        raise StructureError(f"{name}: the cell holds NaN or infinity: mend it")


def _restore_constraints(atoms: Atoms, name: str) -> None:
    """Apply the constraints that an MD wrote beside those of the columns."""
    from ase.constraints import dict2constraint

    values = atoms.info.pop(CONSTRAINTS_KEY, [])
    try:
        others = [dict2constraint(value) for value in values]
    except (KeyError, TypeError, ValueError) as error:
        raise StructureError(
            f"{name}: {CONSTRAINTS_KEY} holds no constraints of ASE ({error}): mend or remove it"
        ) from error
    if others:
        atoms.set_constraint(atoms.constraints + others)


_ANEW = "remove it, or choose another folder, to start anew"


def _reason(error: Exception) -> str:
    """The first words of an error, or its name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value)} does not fit into JSON")
