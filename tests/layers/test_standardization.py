"""All ways to standardize a kernel agree with each other and with NumPy."""

import functools

import keras
import numpy as np
import pytest
from helpers import BACKEND, assert_gradients, assert_outputs

from keras_nfnets.layers import convolution, tensorflow_cpu

EPSILON = 1e-4
only_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="only TensorFlow has more ways than one"
)


def kernel_with_small_units(rows=36, outputs=7):
    """Returns a kernel whose first units are under the floor, one of them 0."""
    draw = np.random.default_rng(0).normal(size=(rows, outputs))
    draw = draw * 0.1 + 0.05
    draw[:, :3] *= [0.0, 1e-6, 1e-3]
    return draw.astype("float32")


def by_numpy(kernel, factor, rule):
    kernel = kernel.astype("float64")
    fan_in = len(kernel)
    centered = kernel - kernel.mean(axis=0)
    variance = kernel.var(axis=0)
    under = {
        "floor": np.maximum(fan_in * variance, EPSILON),
        "add": fan_in * (variance + EPSILON),
    }
    return factor * centered / np.sqrt(under[rule])


def formula(rule):
    return functools.partial(
        convolution._formula, epsilon=EPSILON, epsilon_rule=rule
    )


def by_formula(kernel, gain, rule):
    return formula(rule)(kernel, gain, (0,))


def by_batch_norm(kernel, gain, rule):
    return tensorflow_cpu.standardize(
        kernel, gain, EPSILON, rule, formula(rule)
    )


def all_of(way, kernel, factor, upstream, rule):
    """Returns the result, its gradients, and those of their sum of squares."""
    import tensorflow as tf

    arguments = [tf.convert_to_tensor(x) for x in (kernel, factor, upstream)]
    with tf.GradientTape() as outer:
        outer.watch(arguments)
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            result = way(*arguments[:2], rule)
            loss = tf.reduce_sum(result * arguments[2])
        first = tape.gradient(loss, arguments[:2])
        penalty = sum(tf.reduce_sum(tf.square(g)) for g in first)
    return [result, *first, *outer.gradient(penalty, arguments)]


@only_tensorflow
@pytest.mark.parametrize("rule", convolution.EPSILON_RULES)
@pytest.mark.parametrize("compiled", [False, True])
def test_batch_norm_s_kernels_do_the_same(rule, compiled):
    import tensorflow as tf

    draw = np.random.default_rng(1)
    kernel = kernel_with_small_units()
    factor = draw.uniform(0.5, 1.5, 7).astype("float32")
    upstream = draw.normal(size=kernel.shape).astype("float32")
    run = tf.function(all_of, jit_compile=False) if compiled else all_of
    found = run(by_batch_norm, kernel, factor, upstream, rule)
    expected = all_of(by_formula, kernel, factor, upstream, rule)
    assert_outputs(found[0], expected[0])
    for a, b in zip(found[1:], expected[1:], strict=True):
        # Unit by unit, since those under the floor have other magnitudes.
        for actual, wanted in zip(a.numpy().T, b.numpy().T, strict=True):
            assert_gradients(actual, wanted)


@only_tensorflow
@pytest.mark.parametrize("rule", convolution.EPSILON_RULES)
def test_unit_of_one_weight_is_zero(rule):
    kernel = np.full((1, 7), 0.3, "float32")
    factor, upstream = np.ones(7, "float32"), np.ones((1, 7), "float32")
    result, d_kernel, d_factor, *_ = all_of(
        by_batch_norm, kernel, factor, upstream, rule
    )
    assert not np.any(result)
    assert not np.any(d_kernel)
    assert not np.any(d_factor)


@pytest.mark.parametrize("rule", convolution.EPSILON_RULES)
def test_definition(rule):
    kernel = kernel_with_small_units()
    factor = np.linspace(0.5, 1.5, 7, dtype="float32")
    result = convolution.standardize(
        keras.ops.reshape(kernel, (3, 3, 4, 7)),
        keras.ops.convert_to_tensor(factor),
        (0, 1, 2),
        EPSILON,
        rule,
    )
    actual = keras.ops.convert_to_numpy(result).reshape(36, 7)
    expected = by_numpy(kernel, factor, rule)
    for own, wanted in zip(actual.T, expected.T, strict=True):
        # float32 leaves 1e-8 of a mean of 0.05, a share of a small unit.
        np.testing.assert_allclose(own, wanted, rtol=2e-4, atol=1e-6)


@only_tensorflow
@pytest.mark.parametrize("rule", convolution.EPSILON_RULES)
def test_forward_graph_reads_nothing_that_only_tensorflow_fills(rule):
    """Other runtimes leave what a kernel saves for its gradient at zero."""
    import tensorflow as tf

    @tf.function
    def forward(kernel, factor):
        return convolution.standardize(kernel, factor, (0,), EPSILON, rule)

    graph = forward.get_concrete_function(
        tf.TensorSpec((36, 7)), tf.TensorSpec((7,))
    ).graph
    read = {
        tensor.value_index
        for operation in graph.get_operations()
        for tensor in operation.inputs
        if tensor.op.type == "FusedBatchNormV3"
    }
    y, batch_variance = 0, 2
    assert y in read and read <= {y, batch_variance}


@only_tensorflow
@pytest.mark.parametrize(
    "dtype, axes, expected",
    [
        ("float32", (0,), True),
        ("float64", (0,), False),
        ("float32", (1,), False),
    ],
)
def test_batch_norm_s_kernels_are_for_float32(
    dtype, axes, expected, monkeypatch
):
    asked = []
    fast = tensorflow_cpu.standardize
    monkeypatch.setattr(
        tensorflow_cpu,
        "standardize",
        lambda *arguments: asked.append(1) or fast(*arguments),
    )
    kernel = keras.ops.ones((4, 4), dtype)
    convolution.standardize(kernel, 1.0, axes, EPSILON, "floor")
    assert bool(asked) == expected
