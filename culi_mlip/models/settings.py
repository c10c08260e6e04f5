"""What a training can be told, with defaults that suit a few hundred frames."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from culi_mlip.configuration import Configuration, parse, read_yaml
from culi_mlip.models.presets import preset

Variant = Literal["allegro", "mlp", "qdi", "qdi-frozen", "qdi-mlp", "qdi-identity"]

BUILDERS: dict[str, str] = {
    "allegro": "culi_mlip.models.builders.AllegroModel",
    "mlp": "culi_mlip.models.builders.AllegroMLPModel",
} | dict.fromkeys(
    ("qdi", "qdi-frozen", "qdi-mlp", "qdi-identity"), "culi_mlip.models.builders.AllegroQDIModel"
)
"""Import path of each variant's nequip builder."""

HYBRID_LAYERS: dict[str, str] = {
    "qdi": "circuit",
    "qdi-frozen": "frozen",
    "qdi-mlp": "mlp",
    "qdi-identity": "identity",
}
"""What stands in the place of the circuit in each hybrid variant."""


class LossWeights(Configuration):
    """Weights of the mean square errors in the loss.

    Energies count per atom (eV²), forces per component (eV²/Å²), stresses per component
    (eV²/Å⁶). A weight of 0 leaves the label out.
    """

    energy: float = Field(10.0, ge=0)
    forces: float = Field(1.0, ge=0)
    stress: float = Field(10.0, ge=0)


class TrainSettings(Configuration):
    """Settings of a training.

    Attributes
    ----------
    variant
        "allegro", "mlp" (a further MLP) or "qdi" (the quantum-classical hybrid); or a null
        control of the hybrid: "qdi-frozen" (random weights, never trained), "qdi-mlp" (an MLP
        with as many weights in the circuit's place), "qdi-identity" (nothing in its place).
    epochs
        Passes over the training frames; the learning rate falls to nearly zero by the last.
    batch_size
        Frames a step.
    learning_rate
        Peak learning rate of Adam in a one-cycle schedule.
    r_max
        Cutoff in Å.
    polynomial_cutoff_p
        Exponent P of the polynomial envelope.
    l_max
        Highest spherical harmonic.
    num_layers, num_scalar_features, num_tensor_features
        Allegro's layers and features.
    readout_width
        Hidden width of Allegro's readout MLP (the paper's "edge MLP").
    readout_features
        Features between the readout and the further MLP or the circuit; ``None`` takes
        16 (mlp) or 4 (qdi).
    further_mlp_widths
        Hidden widths of the further MLP (mlp).
    n_qubits, qdi_depth, output_mlp_width
        The circuit, and the width of the layers after it (qdi).
    encoding, variational, entangler, entangling_gate, measurement
        The circuit's gates, as in `culi_mlip.quantum.Circuit` (qdi).
    loss
        Weights of the loss.
    seed
        Seed of the weights and of the order of frames.
    model_dtype
        Precision of the weights.
    compile
        Train with ``torch.compile``: a few minutes at the start, then more than twice as fast on
        frames of a hundred atoms; on frames of twenty it is no faster.
    """

    variant: Variant = "qdi"
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    r_max: float = Field(5.0, gt=0)
    polynomial_cutoff_p: float = Field(6.0, gt=1)
    l_max: int = Field(1, ge=1, le=4)
    num_layers: int = Field(2, ge=1)
    num_scalar_features: int = Field(32, ge=1)
    num_tensor_features: int = Field(8, ge=1)
    readout_width: int = Field(32, ge=1)
    readout_features: int | None = Field(None, ge=1)
    further_mlp_widths: tuple[int, ...] = (16, 16)
    n_qubits: int = 4
    qdi_depth: int = 3
    encoding: str = "Z"
    variational: str = "X"
    entangler: str = "ring"
    entangling_gate: str = "CNOT"
    measurement: str = "Y"
    output_mlp_width: int = Field(16, ge=1)
    loss: LossWeights = LossWeights()
    seed: int = 0
    model_dtype: Literal["float32", "float64"] = "float32"
    compile: bool = False


def load_settings(
    path: str | os.PathLike[str] | None,
    flags: Mapping[str, Any],
    preset_name: str | None = None,
) -> TrainSettings:
    """Return the settings of a preset, overridden by a YAML file, overridden by flags.

    Raises
    ------
    RecipeError
        If the preset is unknown, the file is missing or not YAML, or a setting is unknown or
        out of range.
    """
    values = preset(preset_name) if preset_name is not None else {}
    values = values | (read_yaml(path) if path is not None else {}) | dict(flags)
    return parse(TrainSettings, values, str(path or "training settings"))
