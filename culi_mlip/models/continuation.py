"""Parts of nequip and Lightning that make a continued training the same as an unbroken one."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import callbacks
from nequip.data.datamodule import ASEDataModule


class FramesDataModule(ASEDataModule):
    """nequip's frames of ASE, in the order of an unbroken training after an interruption.

    Lightning restores the state of a checkpoint when nequip has made its generators already,
    which would shuffle as in the first epochs again.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the generators; called by Lightning."""
        super().load_state_dict(state_dict)
        for name in ("train_generator", "generator"):
            if hasattr(self, name):
                getattr(self, name).set_state(getattr(self, f"{name}_state"))


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """Lightning's checkpoints, in a run folder that may have been moved.

    Lightning forgets the best error when the folder's path has changed: the next epoch would be
    the best one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what was best; called by Lightning."""
        old, new = str(state_dict["dirpath"]), str(self.dirpath)

        def here(path: str) -> str:
            return new + path.removeprefix(old) if path.startswith(old) else path

        moved = {k: here(v) if isinstance(v, str) else v for k, v in state_dict.items()}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(moved | {"best_k_models": best})
