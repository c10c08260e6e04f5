"""From a recipe to a dataset on disk: structures, labels, audited and split."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from culi_mlip.datasets.export import BuiltDataset, chosen_split, export_parts, split_is
from culi_mlip.datasets.lattice_constants import FILE
from culi_mlip.datasets.store import Store
from culi_mlip.errors import EngineError
from culi_mlip.labelling.campaign import label_pending
from culi_mlip.labelling.executors import LOCAL, Workers, open_executor
from culi_mlip.labelling.lattice_constants import find_lattice_constants
from culi_mlip.labelling.recipe import Recipe
from culi_mlip.progress import Step, no_progress
from culi_mlip.records import Record
from culi_mlip.reference import Engine, get_engine
from culi_mlip.runs import is_finished, recorded_inputs, run_folder
from culi_mlip.structures import campaign

MOST_IN_VAIN = 6
"""How often in a row workers may die before they have labelled anything."""


class BuildInputs(Recipe, Record):
    """A recipe, as the record of a dataset's folder has it."""


def build_dataset(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    workers: Workers = LOCAL,
    retry_failed: bool = False,
    step: Step | None = None,
) -> BuiltDataset:
    """Build, label, audit, split and export a dataset; continue where a killed run stopped.

    Parameters
    ----------
    recipe
        What to build.
    out
        Folder of the dataset.
    workers
        Who labels.
    retry_failed
        Whether structures that failed are tried once more.
    step
        Called with the name of each long step; returns what to call as it advances.

    Returns
    -------
    BuiltDataset

    Raises
    ------
    CuliError
        If the folder holds another recipe's dataset. The same recipe with more structures is no
        other one, and the split and the thresholds of the audit may change.
    SetupError
        If the engine lacks something on this machine; no structure counts as failed.
    EngineError
        If the engine fails to find a lattice constant that the recipe leaves out.
    DatasetError
        If nothing could be labelled, or there are too few frames to split.
    """
    step = step or (lambda name: no_progress)
    engine = get_engine(recipe.engine.name, recipe.engine.settings)
    inputs = BuildInputs.model_validate(recipe.model_dump())
    folder = Path(out)
    is_finished(folder, _same_but_more(folder, inputs))  # refuses another recipe's
    with run_folder(folder, "build-dataset", inputs):
        store = Store(folder / "store.db")
        recipe = find_lattice_constants(
            recipe, engine, folder, workers=workers, progress=step("Finding lattice constants")
        )
        store.add(campaign(recipe))
        if retry_failed:
            store.retry()
        if workers.where != "slurm" and (symbols := store.waiting_symbols()):
            engine.check(symbols)  # a job's environment is that of its script
        _label(store, recipe, engine, workers, step)
        chosen = chosen_split(folder)
        split = chosen or {"split": recipe.split, "seed": recipe.seed}
        anew = chosen is None and not split_is(folder, recipe.split, recipe.seed)
        return export_parts(folder, **split, audit_settings=recipe.audit, anew=anew)


def _same_but_more(folder: Path, inputs: BuildInputs) -> BuildInputs:
    """A recipe as the folder's record has it, where it differs in what may be extended alone."""
    old = recorded_inputs(folder, BuildInputs)
    if old is None:
        return inputs
    store = folder / "store.db"
    if store.is_file() and not len(Store(store)):  # it ended before it built a structure
        if old.engine != inputs.engine:
            (folder / FILE).unlink(missing_ok=True)
        return old
    known: dict[str, Any] = {name: old[name] for name in ("split", "published", "audit")}
    if _extends(*(recipe.model_dump(mode="json")["structures"] for recipe in (inputs, old))):
        known["structures"] = old.structures
    return inputs.model_copy(update=known)


def _extends(new: Any, old: Any) -> bool:
    """Whether `new` is `old`, with more at the end of its lists and more copies."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(
            new.get(key) >= value if key == "copies" else _extends(new.get(key), value)
            for key, value in old.items()
        )
    if isinstance(old, list) and isinstance(new, list):
        return len(new) >= len(old) and all(map(_extends, new, old))
    return bool(new == old)


def _label(
    store: Store,
    recipe: Recipe,
    engine: Engine,
    workers: Workers,
    step: Step,
) -> None:
    """Label all structures, with new workers where some died."""
    in_vain = 0
    while in_vain < MOST_IN_VAIN:
        before = store.counts()
        with contextlib.suppress(BrokenExecutor), open_executor(workers, store.path.parent) as used:
            label_pending(
                store,
                engine,
                tasks=recipe.tasks,
                seed=recipe.seed,
                executor=used,
                in_flight=workers.in_flight,
                per_call=workers.per_job,
                progress=step("Labelling structures"),
            )
            return
        in_vain = in_vain + 1 if store.counts() == before else 0
    raise EngineError(
        f"workers died {in_vain} times in a row before they labelled anything: see what they "
        "print, or how much memory one takes"
    )
