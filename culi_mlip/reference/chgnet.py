"""CHGNet, a universal machine-learned potential: runs anywhere, stands in for DFT."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any, Literal

from ase.calculators.calculator import Calculator

from culi_mlip.configuration import Configuration
from culi_mlip.errors import EngineError

TITLE = "CHGNet's r2SCAN model"


class CHGNetSettings(Configuration):
    """Settings of the CHGNet engine.

    Attributes
    ----------
    model
        Name of the pretrained model in chgnet's wheel. "r2scan" was trained on r2SCAN
        calculations; its surface energies of Cu and Li are 25 to 50 % too low.
    """

    model: Literal["r2scan"] = "r2scan"


def make(settings: CHGNetSettings) -> Calculator:
    """Return the ASE calculator, on the CPU for labels that repeat.

    Raises
    ------
    EngineError
        If chgnet is not installed.
    """
    try:
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet
    except ImportError as error:
        raise EngineError(
            "engine 'chgnet' needs chgnet: install it with pip install 'culi-mlip[foundation]'"
        ) from error

    class SinglePrecisionCHGNet(CHGNetCalculator):
        """CHGNet in the precision of its weights."""

        def calculate(self, *arguments: Any, **options: Any) -> None:
            with _single_precision():
                super().calculate(*arguments, **options)

    warnings.filterwarnings("ignore", module="chgnet")
    # chgnet announces itself by print
    with contextlib.redirect_stdout(io.StringIO()), _single_precision():
        model = CHGNet.load(model_name=settings.model, use_device="cpu", verbose=False)
        return SinglePrecisionCHGNet(model=model, use_device="cpu")


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
