"""Where the ready-to-run recipes are."""

from pathlib import Path

from culi_mlip.errors import CuliError

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "_workflows", _PACKAGE.parent / "workflows")  # a wheel, a clone


def workflow(name: str) -> Path:
    """Return the path of a recipe that comes with the package, such as "quickstart.yaml".

    Raises
    ------
    CuliError
        If there is no such recipe.
    """
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise CuliError(f"no workflow named {name} comes with culi_mlip")
