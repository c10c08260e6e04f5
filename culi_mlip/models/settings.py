"""What a training can be told, with defaults that suit a few hundred frames."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from culi_mlip.configuration import Configuration, check_keys, parse, read_yaml
from culi_mlip.errors import CuliError, RecipeError
from culi_mlip.models.presets import preset
from culi_mlip.quantum import Circuit

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

FORMER = {
    "n_qubits": "n_qubits",
    "readout_features": "n_features",
    "qdi_depth": "depth",
    "encoding": "encoding",
    "variational": "variational",
    "entangler": "entangler",
    "entangling_gate": "entangling_gate",
    "measurement": "measurement",
}
"""Fields of the circuit by their former names, as settings and as options of the builder."""

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
    pair_cutoffs
        Shorter cutoffs in Å of some pairs of elements, such as ``{"Cu-Cu": 4.0}``, whichever of
        the two is the centre.
    polynomial_cutoff_p
        Exponent P of the polynomial envelope, at least 2.
    l_max
        Highest spherical harmonic.
    num_layers, num_scalar_features, num_tensor_features
        Allegro's layers and features.
    readout_width
        Hidden width of Allegro's readout MLP (the paper's "edge MLP").
    readout_features, further_mlp_widths
        Features between the readout and the further MLP, and the hidden widths of that (mlp).
    circuit, output_mlp_width
        The circuit, and the width of the layers after it (qdi).
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
    pair_cutoffs: dict[str, Annotated[float, Field(ge=1)]] = {}
    polynomial_cutoff_p: float = Field(6.0, ge=2, le=100)
    l_max: int = Field(1, ge=1, le=4)
    num_layers: int = Field(2, ge=1, le=16)
    num_scalar_features: Width = 32
    num_tensor_features: Width = 8
    readout_width: Width = 32
    readout_features: int = Field(16, ge=1, le=1024)
    further_mlp_widths: tuple[Width, ...] = (16, 16)
    circuit: Circuit = Circuit()
    output_mlp_width: Width = 16
    loss: LossWeights = LossWeights()
    seed: int = Field(0, ge=0, lt=2**32)
    model_dtype: Literal["float32", "float64"] = "float32"
    compile: bool = False

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        return with_circuit(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _check_pair_cutoffs(self) -> TrainSettings:
        for pair, cutoff in self.pair_cutoffs.items():
            if len(pair.split("-")) != 2:
                raise ValueError(f"pair_cutoffs: '{pair}': give a pair of elements such as Cu-Cu")
            if cutoff > self.r_max:
                raise ValueError(
                    f"pair_cutoffs: {cutoff} Å of {pair} is more than r_max, {self.r_max} Å"
                )
        return self

    @field_validator("circuit", mode="before")
    @classmethod
    def _build_circuit(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        check_keys(value, Circuit.__dataclass_fields__)
        try:
            return Circuit(**value)
        except CuliError as error:
            raise ValueError(str(error).removeprefix("circuit with ")) from None


def present_name(name: str, variant: Any) -> str:
    """Return what a setting is called today: ``circuit.depth`` for ``qdi_depth``.

    Only in a hybrid was `readout_features` the circuit's.
    """
    is_hybrid = variant in list(HYBRID_LAYERS)  # whatever the variant is given as
    if name not in FORMER or (name == "readout_features" and not is_hybrid):
        return name
    return f"circuit.{FORMER[name]}"


def with_circuit(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the circuit in `circuit`, where they have its fields by former names.

    Raises
    ------
    ValueError
        If they have both.
    """
    values = {n: v for n, v in values.items() if (n, v) != ("readout_features", None)}
    variant = values.get("variant", TrainSettings.model_fields["variant"].default)
    former = [name for name in values if present_name(name, variant) != name]
    circuit = values.get("circuit", {})
    if "readout_features" in former and (not isinstance(circuit, dict) or "n_features" in circuit):
        former.remove("readout_features")  # the further MLP's, as the circuit has its own
    if former and "circuit" in values:
        name = former[0]
        raise ValueError(f"'{name}' beside 'circuit': give it there, as '{FORMER[name]}'")
    nested = {FORMER[name]: values.pop(name) for name in former}
    return values | {"circuit": nested} if nested else values


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
    sources = [
        preset(preset_name) if preset_name is not None else {},
        read_yaml(path) if path is not None else {},
        dict(flags),
    ]
    name = str(path or "training settings")
    variant = {key: v for source in sources for key, v in source.items() if key == "variant"}
    values: dict[str, Any] = {}
    try:
        for source in sources:
            values = _overridden(values, with_circuit(source | variant))
    except ValueError as error:
        raise RecipeError(f"{name}, {error}") from error
    return parse(TrainSettings, values, name)


def _overridden(values: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    """Values overridden by others, those of a nested setting one by one."""
    nested = {
        key: values[key] | value
        for key, value in by.items()
        if isinstance(value, dict) and isinstance(values.get(key), dict)
    }
    return values | by | nested
