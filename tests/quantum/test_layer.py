"""The torch layer against PennyLane, an independent simulator."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx

from culi_mlip.errors import CuliError, ModelError
from culi_mlip.quantum import Circuit, QDILayer

AXES = st.sampled_from("XYZ")

circuits = st.builds(
    lambda n_qubits, share, **choices: Circuit(
        n_qubits=n_qubits, n_features=max(1, round(share * n_qubits)), **choices
    ),
    n_qubits=st.integers(1, 8),
    share=st.floats(0.1, 3.0),
    depth=st.integers(1, 8),
    encoding=AXES,
    variational=AXES,
    measurement=AXES,
    entangler=st.sampled_from(["ring", "chain", "all"]),
    entangling_gate=st.sampled_from(["CNOT", "CZ"]),
)


def pennylane(circuit, features, weights):
    return torch.stack(circuit.qnode()(features, weights), dim=-1)


def derivatives(outputs, features, weights, seed):
    """Outputs, first and second derivatives along random directions of unit length."""
    generator = torch.Generator().manual_seed(seed)

    def direction(like):
        vector = torch.randn(like.shape, generator=generator, dtype=torch.float64)
        return (vector / vector.norm()).to(like.dtype)

    first = torch.autograd.grad(
        (outputs * direction(outputs)).sum(), [features, weights], create_graph=True
    )
    second = [
        torch.autograd.grad(
            (gradient * direction(gradient)).sum(),
            [features, weights],
            materialize_grads=True,
            retain_graph=True,
        )
        for gradient in first
    ]
    return [outputs, *first, *second[0], *second[1]]


@pytest.mark.parametrize("n_examples", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_equals_pennylane_with_first_and_second_derivatives(n_examples):
    @settings(
        max_examples=n_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
    )
    @given(circuit=circuits, seed=st.integers(0, 2**31))
    def run(circuit, seed):
        equals_pennylane(circuit, seed)

    run()


def equals_pennylane(circuit, seed):
    torch.manual_seed(seed)
    layer = QDILayer(circuit).double()
    features = torch.randn(2, circuit.n_features, dtype=torch.float64, requires_grad=True)
    ours = derivatives(layer(features), features, layer.weight, seed)
    theirs = derivatives(pennylane(circuit, features, layer.weight), features, layer.weight, seed)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    layer = layer.float()
    single = features.detach().float().requires_grad_()
    for a, b in zip(derivatives(layer(single), single, layer.weight, seed), theirs, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_features", [4, 21])
def test_expectation_values_are_bounded_and_periodic(n_features):
    layer = QDILayer(Circuit(n_features=n_features)).double()
    features = torch.randn(7, n_features, dtype=torch.float64)
    outputs = layer(features)
    assert outputs.abs().max() <= 1 + 1e-12
    torch.testing.assert_close(layer(features + 2 * torch.pi), outputs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_features", [4, 21])
def test_no_edges_and_a_single_edge(n_features):
    layer = QDILayer(Circuit(n_features=n_features)).double()
    features = torch.randn(3, n_features, dtype=torch.float64, requires_grad=True)
    assert layer(features[:0]).shape == (0, 4)
    (none,) = torch.autograd.grad(layer(features[:0]).sum(), features)
    assert not none.any()
    torch.testing.assert_close(layer(features[1:2])[0], layer(features)[1], rtol=0, atol=1e-13)


def test_paper_circuit_has_24_parameters():
    assert Circuit(n_qubits=4, n_features=4, depth=3).n_weights == 24


def test_third_derivatives_are_those_of_finite_differences():
    layer = QDILayer(Circuit(n_features=3, depth=1)).double()
    features = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def second(x):
        (first,) = torch.autograd.grad(layer(x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(first.sin().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, features)


@pytest.mark.parametrize("n_features", [1, 4, 21])
def test_traced_and_eager_layers_agree(n_features):
    """make_fx sees ordinary operations only, for any number of edges; forces are part of it."""
    layer = QDILayer(Circuit(n_features=n_features)).double()
    features = torch.randn(5, n_features, dtype=torch.float64)

    def with_gradient(x):
        x = x.requires_grad_()
        values = layer(x)
        return values, torch.autograd.grad(values.sin().sum(), x, create_graph=True)[0]

    traced = make_fx(with_gradient, tracing_mode="symbolic", _allow_non_fake_inputs=True)(
        torch.cat([features, features])
    )
    for a, b in zip(traced(features.clone()), with_gradient(features.clone()), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    exported = torch.export.export(layer, (features,)).module()
    torch.testing.assert_close(exported(features), layer(features), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_features", [4, 21])
def test_change_from_zero_vanishes_at_zero(n_features):
    layer = QDILayer(Circuit(n_features=n_features)).double()
    features = torch.randn(3, n_features, dtype=torch.float64)
    expected = layer(features) - layer(torch.zeros_like(features))
    torch.testing.assert_close(layer.change_from_zero(features), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n_features", [1, 3, 5])
def test_second_derivatives_are_those_of_finite_differences(n_features):
    layer = QDILayer(Circuit(n_qubits=3, n_features=n_features, depth=1)).double()
    features = torch.randn(2, n_features, dtype=torch.float64, requires_grad=True)

    def values(x, weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    weight = layer.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradgradcheck(values, (features, weight))


def test_second_derivative_of_the_weights():
    layer = QDILayer(Circuit(n_features=2, n_qubits=2, depth=1)).double()
    features = torch.randn(3, 2, dtype=torch.float64)

    def gradient(weight):
        values = torch.func.functional_call(layer, {"weight": weight}, (features,))
        return torch.autograd.grad(values.sin().sum(), weight, create_graph=True)[0]

    assert torch.autograd.gradcheck(gradient, layer.weight.detach().clone().requires_grad_())


@pytest.mark.parametrize(
    ("layer_type", "features_type"),
    [(torch.float32, torch.float64), (torch.float64, torch.float32)],
)
def test_features_of_another_precision_are_an_error(layer_type, features_type):
    layer = QDILayer(Circuit()).to(layer_type)
    with pytest.raises(RuntimeError, match="same dtype"):
        layer(torch.zeros(3, 4, dtype=features_type))


@pytest.mark.parametrize("shape", [(5, 3), (5, 5), (5, 9), (5,), (2, 5, 4)])
def test_features_of_another_shape_are_refused(shape):
    with pytest.raises(ModelError, match=r"give \(batch, 4\), as many as the circuit takes"):
        QDILayer(Circuit())(torch.zeros(shape))


def test_reduced_precision_works():
    layer, features = QDILayer(Circuit()).float(), torch.rand(5, 4, dtype=torch.float32)
    expected = layer(features)
    values = layer.bfloat16()(features.bfloat16())
    assert values.dtype == torch.bfloat16
    torch.testing.assert_close(values.float(), expected, rtol=0, atol=0.2)


def test_transforms_and_batched_gradients_agree_with_ordinary_ones():
    layer = QDILayer(Circuit(n_features=3)).double()
    features = torch.randn(5, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian
    ordinary = jacobian(layer, features)
    torch.testing.assert_close(jacobian(layer, features, vectorize=True), ordinary)
    gradients = torch.autograd.grad(
        layer(features).sum(0), layer.weight, torch.eye(4).double(), is_grads_batched=True
    )[0]
    one_by_one = [torch.autograd.grad(v, layer.weight, retain_graph=True)[0]
                  for v in layer(features).sum(0)]  # fmt: skip
    torch.testing.assert_close(gradients, torch.stack(one_by_one))
    torch.testing.assert_close(torch.func.jacrev(layer)(features), ordinary)
    rows = torch.func.vmap(lambda x: layer(x[None])[0])(features)
    torch.testing.assert_close(rows, layer(features))


def test_a_gradient_without_a_graph_keeps_none():
    layer = QDILayer(Circuit())
    features = torch.randn(5, 4, requires_grad=True)
    first = torch.autograd.grad(layer(features).sum(), layer.weight, create_graph=True)[0]
    (second,) = torch.autograd.grad(first.square().sum(), features)
    assert not second.requires_grad


def test_both_forms_agree():
    layer = QDILayer(Circuit(depth=2)).double()
    assert layer.is_fourier
    features = torch.randn(5, 4, dtype=torch.float64)
    fourier = layer(features)
    layer.is_fourier = False
    torch.testing.assert_close(layer(features), fourier, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_qubits": 0},
        {"n_qubits": 9},
        {"n_features": 0},
        {"depth": 0},
        {"depth": 9},
        {"n_qubits": 99},
        {"encoding": "W"},
        {"variational": "x"},
        {"measurement": 3},
        {"entangler": "star"},
        {"entangling_gate": "SWAP"},
    ],
)
def test_impossible_circuits_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(CuliError, match=f"{name}={value!r}: (give|choose)"):
        Circuit(**wrong)


@pytest.mark.parametrize("wrong", [{"n_qubits": 2.5}, {"depth": "3"}, {"n_features": None}])
def test_sizes_that_are_no_integers_are_refused(wrong):
    with pytest.raises(CuliError, match="give an integer"):
        Circuit(**wrong)


def test_the_signature_that_weights_carry_is_the_one_of_earlier_files():
    """Sizes, then places in the lists of choices."""
    circuit = Circuit(3, 5, 2, "Y", "Z", "all", "CZ", "X")
    assert QDILayer(circuit).signature.tolist() == [3, 5, 2, 1, 2, 2, 1, 0]
    other = Circuit(4, 6, 3, "X", "Y", "chain", "CNOT", "Z")
    assert QDILayer(other).state_dict()["signature"].tolist() == [4, 6, 3, 0, 1, 1, 0, 2]
    assert set(QDILayer(other).state_dict()) == {"weight", "signature"}


def test_weights_start_anywhere_in_a_turn():
    torch.manual_seed(0)
    weight = QDILayer(Circuit(n_qubits=4, n_features=40, depth=8)).weight
    counts = torch.histc(weight, 4, 0, 2 * torch.pi)
    assert counts.sum() == weight.numel() == 352
    torch.testing.assert_close(counts / 352, torch.full((4,), 0.25), rtol=0, atol=0.07)


def test_a_signature_of_a_later_version_is_refused():
    layer = QDILayer(Circuit())
    state = layer.state_dict() | {"signature": torch.tensor([4, 4, 3, 9, 0, 0, 0, 1])}
    with pytest.raises(ModelError, match="a circuit that this version does not know"):
        layer.load_state_dict(state)


@pytest.mark.parametrize("other", [Circuit(encoding="X"), Circuit(depth=2), Circuit(n_qubits=3)])
def test_weights_of_another_circuit_are_refused(other):
    weights = QDILayer(other).state_dict()
    with pytest.raises(ModelError, match=r"weights belong to Circuit\(.*not to Circuit\("):
        QDILayer(Circuit()).load_state_dict(weights)
    layer = QDILayer(other)
    layer.load_state_dict(weights)
    torch.testing.assert_close(layer.weight, weights["weight"])


def test_weights_from_before_a_field_was_added_had_its_default():
    weights = QDILayer(Circuit(depth=2)).state_dict()
    weights["signature"] = weights["signature"][:-1]  # the last field is the measurement
    layer = QDILayer(Circuit(depth=2))
    layer.load_state_dict(weights)
    assert torch.equal(layer.weight, weights["weight"])
    with pytest.raises(ModelError, match="the weights belong to .*measurement='Y'"):
        QDILayer(Circuit(depth=2, measurement="Z")).load_state_dict(weights)
