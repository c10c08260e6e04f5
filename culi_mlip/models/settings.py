"""What a training can be told, with defaults that suit a few hundred frames."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from culi_mlip.configuration import Configuration, parse, read_yaml
from culi_mlip.errors import CuliError
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

Width = Annotated[int, Field(ge=1, le=65536)]


class LossWeights(Configuration):
    """Weights of the mean square errors in the loss.

    Energies count per atom (eV²), forces per component (eV²/Å²), stresses per component
    (eV²/Å⁶). A weight of 0 leaves the label out. Only ratios matter.
    """

    energy: float = Field(10.0, ge=0)
    forces: float = Field(1.0, ge=0)
    stress: float = Field(10.0, ge=0)

    @model_validator(mode="after")
    def _weigh_something(self) -> LossWeights:
        if not self.energy + self.forces + self.stress > 0:
            raise ValueError("all weights are 0: give at least one above 0")
        return self


class TrainSettings(Configuration):
    """Settings of a training.

    Attributes
    ----------
    variant
        "allegro", "mlp" (a further MLP) or "qdi" (the quantum-classical hybrid); or a null
        control of the hybrid: "qdi-frozen" (random weights, never trained), "qdi-mlp" (an MLP
        with as many weights in the circuit's place), "qdi-identity" (nothing in its place).
    epochs
        Passes over the training frames.
    batch_size
        Frames a step, on each device.
    learning_rate
        Learning rate of Adam: the peak of a one-cycle schedule, or the constant.
    schedule
        "one-cycle": the learning rate rises, and falls to nearly zero by the last epoch.
        "constant": it stays, and a finished training can be extended by more epochs.
    devices
        GPUs (on the CPU: processes) that train together, each on `batch_size` frames a step.
    r_max
        Cutoff in Å.
    polynomial_cutoff_p
        Exponent P of the polynomial envelope, at least 2.
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
    learning_rate: float = Field(0.01, gt=0, le=1)
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    devices: int = Field(1, ge=1)
    r_max: float = Field(5.0, ge=1, le=20)
    polynomial_cutoff_p: float = Field(6.0, ge=2, le=100)
    l_max: int = Field(1, ge=1, le=4)
    num_layers: int = Field(2, ge=1, le=16)
    num_scalar_features: Width = 32
    num_tensor_features: Width = 8
    readout_width: Width = 32
    readout_features: int | None = Field(None, ge=1, le=1024)
    further_mlp_widths: tuple[Width, ...] = (16, 16)
    n_qubits: int = 4
    qdi_depth: int = 3
    encoding: str = "Z"
    variational: str = "X"
    entangler: str = "ring"
    entangling_gate: str = "CNOT"
    measurement: str = "Y"
    output_mlp_width: Width = 16
    loss: LossWeights = LossWeights()
    seed: int = Field(0, ge=0, lt=2**32)
    model_dtype: Literal["float32", "float64"] = "float32"
    compile: bool = False

    @model_validator(mode="after")
    def _check_circuit(self) -> TrainSettings:
        from culi_mlip.quantum import Circuit  # imports PyTorch

        try:
            Circuit(
                n_qubits=self.n_qubits,
                n_features=self.readout_features or 4,
                depth=self.qdi_depth,
                encoding=self.encoding,
                variational=self.variational,
                entangler=self.entangler,
                entangling_gate=self.entangling_gate,
                measurement=self.measurement,
            )
        except CuliError as error:
            raise ValueError(str(error)) from None
        return self

    def identity(self, without: Collection[str] = ()) -> dict[str, Any]:
        """Return what tells trainings apart: settings that older versions lack only if they differ.

        A setting that is added with a default then leaves the trainings that exist as they are.
        """
        values = self.model_dump(mode="json", exclude=set(without))
        for name in ("schedule", "devices"):
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        return values


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
