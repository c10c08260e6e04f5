"""The paper's models: every row of its Tables 1 to 3 as settings of a training.

The paper's names, and ours:

==================  ==========================================================
r_max (Å)           ``r_max``
lr                  ``learning_rate``
Batch               ``batch_size``
P                   ``polynomial_cutoff_p``: exponent of the polynomial envelope
Layers              ``num_layers``: Allegro's tensor-product layers
Edge MLP            ``readout_width``: hidden width of Allegro's readout MLP
Final MLP           ``further_mlp_widths`` (+MLP), ``output_mlp_width`` (+QDI)
QDI depth           ``circuit.depth``
QDI input features  ``circuit.n_features``
==================  ==========================================================

Lengths of training are those of Table 5. What the paper does not give (features, l_max, loss,
the 16 features that enter the further MLP) is our default.
"""

from __future__ import annotations

from typing import Any

from culi_mlip.errors import RecipeError

_EPOCHS = {"aspirin": 3000, "benzene": 3000, "qm9": 300, "culi": 100}

_SHARED = (
    "r_max",
    "learning_rate",
    "batch_size",
    "polynomial_cutoff_p",
    "num_layers",
    "readout_width",
)

_TABLES: dict[str, tuple[tuple[str, ...], dict[str, tuple[Any, ...]]]] = {
    "allegro": (  # Table 1
        (),
        {
            "aspirin": (7.3, 5.36e-3, 3, 6.9, 4, 32),
            "benzene": (12.0, 1e-3, 1, 5.0, 3, 128),
            "qm9": (12.0, 1e-3, 5, 10.0, 3, 32),
            "culi": (12.0, 2e-3, 2, 5.0, 2, 128),
        },
    ),
    "mlp": (  # Table 2
        ("further_mlp_widths",),
        {
            "aspirin": (7.4, 2.93e-3, 2, 6.7, 3, 16, (1024, 1024)),
            "benzene": (12.0, 1e-3, 1, 5.0, 3, 128, (32, 4)),
            "qm9": (6.2, 1e-3, 2, 5.0, 2, 64, (32, 16)),
            "culi": (5.0, 9.35e-4, 1, 10.3, 3, 16, (4, 16)),
        },
    ),
    "qdi": (  # Table 3
        ("output_mlp_width", "circuit"),
        {
            "aspirin": (9.5, 1e-3, 1, 6.0, 4, 16, 4, {"depth": 4, "n_features": 21}),
            "benzene": (12.0, 1e-3, 1, 5.0, 3, 32, 16, {"depth": 1, "n_features": 4}),
            "qm9": (12.0, 1e-3, 5, 10.0, 3, 32, 128, {"depth": 3, "n_features": 4}),
            "culi": (5.0, 4.02e-3, 5, 12.0, 3, 4, 128, {"depth": 3, "n_features": 4}),
        },
    ),
}

PRESETS: dict[str, dict[str, Any]] = {
    f"paper-{data}-{variant}": {
        "variant": variant,
        "epochs": _EPOCHS[data],
        **dict(zip((*_SHARED, *extra), row, strict=True)),
    }
    for variant, (extra, rows) in _TABLES.items()
    for data, row in rows.items()
}
"""Settings by name, such as ``paper-culi-qdi``."""


def preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset.

    Raises
    ------
    RecipeError
        If there is none of this name.
    """
    if name not in PRESETS:
        raise RecipeError(f"no preset is named '{name}': choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
