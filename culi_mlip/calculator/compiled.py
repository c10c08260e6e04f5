"""Models compiled by AOTInductor, kept in the user's cache.

``python -m culi_mlip.calculator.compiled`` compiles in a process of its own: compilers change
global settings, take memory and can fail in any way.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from culi_mlip import __version__
from culi_mlip.calculator.potential import is_compiled, outputs
from culi_mlip.devices import hardware
from culi_mlip.errors import CuliError, ModelError, OutputError
from culi_mlip.files import (
    atomic_path,
    cache_folder,
    file_digest,
    file_lock,
    output_errors,
    read_json,
    write_json,
)
from culi_mlip.models.last_layer import with_last_layer_features
from culi_mlip.models.unrolled import UnrolledAllegro, unrolled
from culi_mlip.process import die_with_parent, end_family
from culi_mlip.progress import Progress, Step, bars

Target = Literal["ase", "batch", "pair_allegro"]

Kernel = Literal["written-out", "triton", "cuequivariance"]

MODIFIERS: dict[Kernel, str] = {
    "triton": "enable_TritonContracter",
    "cuequivariance": "enable_CuEquivarianceContracter",
}
"""nequip-allegro's tensor products for GPUs, in the place of those that we write out."""

EXPECTED_SECONDS = 75.0
"""Of a compilation, where none was timed: the default model on one core took 73 s."""


class Options(NamedTuple):
    """What is compiled for; see `compile_model`."""

    device: str
    target: Target = "ase"
    tf32: bool = False
    features: bool = False
    kernel: Kernel = "written-out"


def cached(
    file: Path,
    device: str,
    target: Target = "ase",
    *,
    tf32: bool = False,
    features: bool = False,
) -> Path | None:
    """Return the compiled model of a file that is in the cache, or None.

    Parameters
    ----------
    file
        A checkpoint or packaged model.
    device, target, tf32, features
        As in `compile_model`.
    """
    if is_compiled(file):
        return file
    place = _place(file, Options(device, target, tf32, features))
    return place if place.exists() else None


def compile_model(
    file: Path,
    device: str,
    target: Target = "ase",
    *,
    tf32: bool = False,
    features: bool = False,
    kernel: Kernel = "written-out",
    out: Path | None = None,
    wait: bool = True,
    step: Step | None = None,
) -> Path | None:
    """Compile a model, unless it is in the cache.

    Parameters
    ----------
    file
        A checkpoint or packaged model; a compiled one is returned.
    device
        "cpu" or "cuda".
    target
        The program that evaluates it: "ase", "batch" (torch-sim) or "pair_allegro" (LAMMPS).
    tf32
        Whether products of float32 on a GPU may be rounded to TF32.
    features
        Whether the compiled model gives the features of its last layer, too.
    kernel
        Of the tensor products: "written-out" (see `culi_mlip.models.unrolled`) or, on a GPU,
        nequip-allegro's "triton" or "cuequivariance".
    out
        Where to put the file, ending in ``.nequip.pt2``, instead of the cache.
    wait
        Whether to wait for another process that compiles the same.
    step
        Called with the name of the step, gives what is called with the seconds that have passed and
        those expected; by default a bar is drawn on standard error.

    Returns
    -------
    Path or None
        The file; None if another process compiles it and `wait` is off.

    Raises
    ------
    ModelError
        If there is no C++ compiler, or it failed; or the kernel is for GPUs.
    OutputError
        If the cache cannot be written.
    """
    if is_compiled(file):
        return file
    options = Options(device, target, tf32, features, kernel)
    if kernel != "written-out" and device == "cpu":
        raise ModelError(f"the kernel {kernel} is for GPUs: leave it out, or give --device cuda")
    place = _place(file, options)
    with ExitStack() as held:
        advance = step or held.enter_context(bars())
        if out:
            _compile(out, file, options, advance(f"Compiling {file.name}"))
            return out
        try:
            held.enter_context(file_lock(place.with_suffix(".lock"), wait=wait))
        except OutputError:
            raise
        except CuliError:
            return None
        if not place.exists():
            started = time.monotonic()
            _compile(place, file, options, advance(f"Compiling {file.name}"))
            seconds = round(time.monotonic() - started, 1)
            record = {"file": str(file.absolute()), **options._asdict(), "seconds": seconds}
            write_json(place.with_suffix(".json"), record)
    return place


def expected_seconds(device: str) -> float:
    """Return how long a compilation for a device takes, by the last one in the cache."""
    records = sorted(cache_folder("compiled").glob("*.json"), key=os.path.getmtime, reverse=True)
    for place in records:
        with suppress(CuliError, KeyError, TypeError, ValueError):  # a damaged record
            record = read_json(place)
            if record["device"] == device:
                return float(record["seconds"])
    return EXPECTED_SECONDS


def _place(file: Path, options: Options) -> Path:
    """Where in the cache the compiled model is: by all that it depends on."""
    depends_on = {
        "model": file_digest(file),
        **options._asdict(),
        "hardware": _instruction_set(options.device),
        "threads": torch.get_num_threads() if options.device == "cpu" else None,  # in the code
        "packages": {name: version(name) for name in ("torch", "nequip", "nequip-allegro")},
        "culi_mlip": __version__,
    }
    key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder("compiled") / f"{key}.nequip.pt2"


def _instruction_set(device: str) -> list[str]:
    """The machine code that runs here: a cache may lie on a disk that several machines share."""
    if device != "cpu":
        return [hardware(device), str(torch.cuda.get_device_capability(device))]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = [line for line in lines if line.startswith(("flags", "Features"))][:1]
    except OSError:
        flags = []
    return [platform.machine(), hardware(device), *flags]


def _compile(place: Path, file: Path, options: Options, progress: Progress) -> None:
    """Compile in another process, and put the result in its place in one step."""
    device = options.device
    if device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise ModelError(
            f"{file} cannot be compiled: there is no C++ compiler (g++, or what CXX names)"
        )
    started, expected = time.monotonic(), round(expected_seconds(device))
    job = {"file": str(file.absolute()), **options._asdict()}
    progress(0, expected)
    with output_errors(place):  # before minutes of work
        place.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place.parent).close()
    with tempfile.TemporaryDirectory() as work:
        unfinished, log = Path(work, "model.nequip.pt2"), Path(work, "log")
        with log.open("w", encoding="utf-8") as printed:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter, fixed arguments)
                [sys.executable, "-m", __name__, json.dumps({**job, "out": str(unfinished)})],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": str(torch.get_num_threads()),
                    "TORCHINDUCTOR_CACHE_DIR": work,
                },
                stdout=printed,
                stderr=printed,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (no threads in the child yet)
            )
            try:
                while process.poll() is None:
                    time.sleep(0.2)
                    progress(min(round(time.monotonic() - started), expected - 1), expected)
            finally:
                end_family(process)
        if process.returncode:
            reason = last_error(log.read_text(encoding="utf-8", errors="replace"))
            raise ModelError(f"{file} cannot be compiled ({reason})")
        with atomic_path(place) as temporary:
            shutil.copyfile(unfinished, temporary)
    progress(expected, expected)


def last_error(printed: str) -> str:
    """Return the line of a traceback that names the error, also where warnings follow it."""
    lines = printed.strip().splitlines() or ["the process was killed"]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (named or lines)[-1][:200]


def main(job: dict[str, Any]) -> None:
    """Compile a model, as ``nequip-compile`` does, with its Allegro layers written out."""
    from nequip.data import AtomicDataDict
    from nequip.model.modify_utils import modify
    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
    from nequip.utils import aoti_metadata
    from nequip.utils.aot import aot_export_model
    from nequip.utils.global_state import get_latest_global_state, set_global_state

    set_global_state(allow_tf32=job["tf32"])
    model: Any = load_saved_model(job["file"])
    kernel = MODIFIERS.get(job["kernel"])
    model = modify(model, [{"modifier": kernel}]) if kernel else unrolled(model)
    if job["features"]:
        model = with_last_layer_features(model)
    target = COMPILE_TARGET_DICT[job["target"]]
    given = outputs(job["target"], job["features"])
    metadata = {**model.metadata, **get_latest_global_state(only_metadata_related=True)}
    metadata = {k: str(int(v)) if isinstance(v, bool) else str(v) for k, v in metadata.items()}
    for key, fields in (("INPUTS", target["input"]), ("OUTPUTS", given)):
        name = getattr(aoti_metadata, f"NEQUIP_AOTI_{key}_KEY")
        metadata[name] = aoti_metadata.serialize_aoti_keys(fields)
    example = target["data_settings"](_example(model.metadata))
    sizes = {name: torch.export.Dim(f"num_{name}s", min=2) for name in ("graph", "node", "edge")}
    aot_export_model(
        model=model,
        device=job["device"],
        input_fields=target["input"],
        output_fields=given,
        data=AtomicDataDict.to_(example, torch.device(job["device"])),
        batch_map=target["batch_map_settings"](sizes),
        output_path=job["out"],
        inductor_configs={
            "aot_inductor.metadata": metadata,
            **(_cpu_options(model) if job["device"] == "cpu" else {}),
        },
    )


def _cpu_options(model: torch.nn.Module) -> dict[str, Any]:
    """Inductor's options that benchmarks/compiled.py finds to be faster."""
    widths = [m.n_channels for m in model.modules() if isinstance(m, UnrolledAllegro)]
    # Eight channels fill a vector of 256 bits, and half of one of 512.
    is_narrow = any(width % 16 for width in widths)
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return {"freezing": True, **({"cpp.simdlen": 256} if wide and is_narrow else {})}


def _example(metadata: dict[str, str]) -> dict[str, torch.Tensor]:
    """A crystal with atoms of all the model's types, to follow its operations on."""
    from ase.build import bulk
    from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
    from nequip.nn import graph_model

    r_max = float(metadata[graph_model.R_MAX_KEY])
    atoms = bulk("Cu", "fcc", a=r_max / 1.3, cubic=True) * (2, 2, 2)
    atoms.rattle(0.05 * r_max / 1.3, seed=0)
    data = compute_neighborlist_(from_ase(atoms), r_max)
    n_types = int(metadata[graph_model.NUM_TYPES_KEY])
    data[AtomicDataDict.ATOM_TYPE_KEY] = torch.arange(len(atoms)) % n_types
    batch: dict[str, torch.Tensor] = AtomicDataDict.batched_from_list([data])
    return batch  # of one frame; targets of single frames take it apart


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
