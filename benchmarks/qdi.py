"""Time of the QDI layer, beside PennyLane and a classical MLP in the same run.

    python benchmarks/qdi.py             # 10,000 and 100,000 edges, float32, one thread

Milliseconds of processor time: forward (no gradient), force (with the gradient of the features),
backward (with those of features and weights), double (the gradients that training on forces needs).
PennyLane is its default.qubit with torch and broadcasting; the MLP is 16-128-128-1 with SiLU. The
three are timed in turns, and the best turn of each counts: other programs only ever add time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from culi_mlip.models.readout import mlp
from culi_mlip.quantum import Circuit, QDILayer

Function = Callable[[Tensor], Tensor]


def forward(function: Function, inputs: Tensor, weights: list[Tensor]) -> None:
    """Energies."""
    with torch.no_grad():
        function(inputs)


def force(function: Function, inputs: Tensor, weights: list[Tensor]) -> None:
    """Energies and forces."""
    torch.autograd.grad(function(inputs).sum(), inputs)


def backward(function: Function, inputs: Tensor, weights: list[Tensor]) -> None:
    """A step of training on energies."""
    torch.autograd.grad(function(inputs).square().sum(), [inputs, *weights])


def double(function: Function, inputs: Tensor, weights: list[Tensor]) -> None:
    """A step of training on forces."""
    values = function(inputs)
    (forces,) = torch.autograd.grad(values.sum(), inputs, create_graph=True)
    torch.autograd.grad(values.sum() + forces.square().sum(), weights)


def best(jobs: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Least milliseconds of each job, in turns of five calls until the time is over."""
    times = dict.fromkeys(jobs, float("inf"))
    end = time.perf_counter() + seconds
    for turn in range(1000):
        for name, job in jobs.items():
            for _ in range(5):
                start = time.process_time()
                job()
                times[name] = min(times[name], 1000 * (time.process_time() - start))
        if turn >= 1 and time.perf_counter() > end:
            break
    return times


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--edges", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--features", type=int, nargs="+", default=[4, 21])
    parser.add_argument("--seconds", type=float, default=15.0, help="time for each line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'':26}{'ours':>9}{'PennyLane':>11}{'MLP':>9}   {'ratios to ours'}")
    for n_features in arguments.features:
        circuit = Circuit(n_features=n_features)
        layer, node = QDILayer(circuit), circuit.qnode()
        network = mlp([16, 128, 128, 1])
        for n_edges in arguments.edges:
            angles = torch.randn(n_edges, n_features, requires_grad=True)
            features = torch.randn(n_edges, 16, requires_grad=True)

            def pennylane(x: Tensor) -> Tensor:
                return torch.stack(node(x, layer.weight), dim=-1)  # noqa: B023

            subjects = {
                "ours": (layer, angles, [layer.weight]),
                "PennyLane": (pennylane, angles, [layer.weight]),
                "MLP": (network, features, list(network.parameters())),
            }
            if n_features > 4:  # PennyLane would take minutes
                del subjects["PennyLane"]
            for step in (forward, force, backward, double):
                jobs = {
                    name: (lambda subject=subject, step=step: step(*subject))
                    for name, subject in subjects.items()
                }
                times = best(jobs, arguments.seconds)
                label = f"{n_features} features, {n_edges:6}, {step.__name__}"
                cells = f"{times['ours']:9.2f}"
                cells += f"{times['PennyLane']:11.1f}" if "PennyLane" in times else f"{'–':>11}"
                ratios = [f"{times[name] / times['ours']:.1f}" for name in list(times)[1:]]
                print(f"{label:26}{cells}{times['MLP']:9.2f}   {', '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
