"""CHGNet, a universal machine-learned potential: runs anywhere, stands in for DFT."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from culi_mlip.configuration import Configuration
from culi_mlip.errors import SetupError
from culi_mlip.reference.cells import only_right_handed

TITLE = "CHGNet's r2SCAN model"


class CHGNetSettings(Configuration):
    """Settings of the CHGNet engine.

    Attributes
    ----------
    model
        Name of the pretrained model in chgnet's wheel. "r2scan" was trained on r2SCAN
        calculations; its surface energies of Cu and Li are 25 to 50 % too low.
    """

    FIRST: ClassVar[frozenset[str]] = frozenset({"model"})

    model: Literal["r2scan"] = "r2scan"


def make(settings: CHGNetSettings) -> Calculator:
    """Return the ASE calculator, on the CPU for labels that repeat.

    Raises
    ------
    SetupError
        If chgnet is not installed.
    """
    check(settings)
    import torch
    from chgnet.model.dynamics import CHGNetCalculator
    from chgnet.model.model import CHGNet

    class SinglePrecisionCHGNet(CHGNetCalculator):
        """CHGNet in the precision of its weights.

        Forces and stress are two passes through the network: who asks for energy and forces, as
        relaxations do, is not given a stress. ASE asks for one property at a time, and soon for the
        next: that gets all.
        """

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: Any = None,
            system_changes: Any = all_changes,
            task: Any = "efsm",
        ) -> None:
            if properties is not None and {*properties} == {"energy", "forces"}:
                task = "ef"
            with _single_precision():
                super().calculate(atoms, properties, system_changes, task)

    warnings.filterwarnings("ignore", module="chgnet")
    # chgnet announces itself by print, and draws weights before it reads them
    silent, same_draws = contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng([])
    with silent, same_draws, _single_precision():
        model = CHGNet.load(model_name=settings.model, use_device="cpu", verbose=False)
        # left-handed cells would reverse its stress
        return only_right_handed(SinglePrecisionCHGNet(model=model, use_device="cpu"))


def check(settings: CHGNetSettings, symbols: Iterable[str] = ()) -> None:
    """Check that chgnet is installed.

    Raises
    ------
    SetupError
        If it is not.
    """
    try:
        import chgnet.model.dynamics  # noqa: F401
    except ImportError as error:
        raise SetupError(
            f"engine 'chgnet' needs chgnet ({error}): install it with pip install chgnet"
        ) from error


@contextlib.contextmanager
def _single_precision() -> Iterator[None]:
    """Set torch's default precision, which CHGNet relies on and nequip raises to double."""
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)
