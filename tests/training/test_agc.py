"""AGC clips the units that a layer's outputs have, as the papers' code does."""

import re
from typing import NamedTuple

import keras
import numpy as np
import pytest
from helpers import BACKEND, Reference, jacobian, to_numpy

import keras_nfnets
from keras_nfnets.layers import WSConv2D, WSConv2DTranspose, WSDepthwiseConv2D
from keras_nfnets.training import agc, unit_axes

REFERENCE = Reference("agc")
# Clipping by 0 is refused here; the papers' code divides by it.
CASES = [
    pytest.param(f"{i:03d}", case, id=f"{i}-{case['tag']}")
    for i, case in enumerate(REFERENCE.meta["cases"])
    if case["clip"] > 0
]


def _clip(gradient, variable, **arguments):
    tensors = map(keras.ops.convert_to_tensor, (gradient, variable))
    gradient, variable = tensors
    clipped = agc.adaptive_clip([gradient], [variable], **arguments)
    return to_numpy(clipped[0])


@pytest.mark.parametrize("key, case", CASES)
def test_clipped_gradients_are_the_papers(key, case):
    actual = _clip(
        REFERENCE[f"{key}/grad"],
        REFERENCE[f"{key}/param"],
        clipping=case["clip"],
        epsilon=case["eps"],
    )
    # Norms of up to a few hundred terms, in float32.
    np.testing.assert_allclose(
        actual, REFERENCE[f"{key}/sgd_agc"], rtol=1e-5, atol=0
    )


def test_many_variables_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 4, 6), (6,), (), (5, 7), (1, 1, 1, 4), (2, 3, 5)]
    gradients = [rng.normal(size=s).astype("float32") for s in shapes]
    variables = [rng.normal(size=s).astype("float32") for s in shapes]
    together = agc.adaptive_clip([*gradients, None], [*variables, variables[0]])
    assert together[-1] is None
    for all_, g, v in zip(together, gradients, variables, strict=False):
        np.testing.assert_array_equal(to_numpy(all_), _clip(g, v))


def test_norm_of_each_unit_is_bounded_and_small_gradients_stay():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 3, 8, 16)).astype("float32")
    gradient = rng.normal(size=weights.shape).astype("float32")
    gradient[..., 3] *= 1e-4
    clipped = _clip(gradient, weights, clipping=0.02)
    norms, limits = (
        np.sqrt((x.astype("float64") ** 2).sum((0, 1, 2)))
        for x in (clipped, weights)
    )
    assert (norms <= 0.02 * limits * (1 + 1e-6)).all()
    np.testing.assert_array_equal(clipped[..., 3], gradient[..., 3])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_of_half_precision_do_not_overflow(dtype):
    x = keras.ops.full((64, 4), 3000.0, dtype=dtype)
    norm = agc.unitwise_norm(x)
    assert keras.backend.standardize_dtype(norm.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(norm), 8 * 3000.0, rtol=0.01)


class Rows(keras.layers.Layer):
    """A layer whose kernel has a row for each unit, and which says so."""

    kernel_unit_axes = (1,)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(5, shape[-1]), name="kernel")

    def call(self, inputs):
        return keras.ops.matmul(inputs, keras.ops.transpose(self.kernel))


def depthwise_part(layer):
    """Makes the outputs of a separable layer those of its depthwise part."""
    layer.pointwise_kernel.assign(
        np.eye(layer.filters).reshape(layer.pointwise_kernel.shape)
    )


class Case(NamedTuple):
    """A layer, the shape of an input, a variable, and the outputs' units."""

    layer: keras.layers.Layer
    shape: tuple
    name: str = "kernel"
    axes: tuple = (-1,)  # of the outputs, which number the units


LAYERS = {
    "dense": Case(keras.layers.Dense(5), (4,)),
    "conv 1d": Case(keras.layers.Conv1D(5, 3), (6, 4)),
    "conv 2d": Case(keras.layers.Conv2D(5, (3, 2)), (6, 6, 4)),
    "groups": Case(keras.layers.Conv2D(6, (3, 2), groups=2), (6, 6, 8)),
    "conv 3d": Case(keras.layers.Conv3D(5, 2), (3, 3, 3, 4)),
    "transposed 1d": Case(keras.layers.Conv1DTranspose(5, 3), (6, 4)),
    "transposed 2d": Case(keras.layers.Conv2DTranspose(5, (3, 2)), (6, 6, 4)),
    "transposed 3d": Case(keras.layers.Conv3DTranspose(5, 2), (3, 3, 3, 4)),
    "depthwise 1d": Case(
        keras.layers.DepthwiseConv1D(3, depth_multiplier=2), (6, 4)
    ),
    "depthwise 2d": Case(
        keras.layers.DepthwiseConv2D((3, 2), depth_multiplier=2), (6, 6, 4)
    ),
    "separable 1d": Case(
        keras.layers.SeparableConv1D(8, 3, depth_multiplier=2),
        (6, 4),
        "depthwise_kernel",
    ),
    "separable 2d": Case(
        keras.layers.SeparableConv2D(8, (3, 2), depth_multiplier=2),
        (6, 6, 4),
        "depthwise_kernel",
    ),
    "pointwise 1d": Case(
        keras.layers.SeparableConv1D(5, 3), (6, 4), "pointwise_kernel"
    ),
    "pointwise 2d": Case(
        keras.layers.SeparableConv2D(5, (3, 2)), (6, 6, 4), "pointwise_kernel"
    ),
    # As attention's projections: a unit is one feature of one head.
    "heads": Case(
        keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3)),
        (6, 4),
        axes=(-2, -1),
    ),
    "joined heads": Case(
        keras.layers.EinsumDense("abde,dec->abc", (None, 5)), (6, 2, 3)
    ),
    # What is looked up at one position is one row.
    "embedding": Case(
        keras.layers.Embedding(6, 5), (6,), "embeddings", axes=(1,)
    ),
    "standardized": Case(WSConv2D(5, (3, 2)), (6, 6, 4)),
    "standardized transposed": Case(WSConv2DTranspose(5, (3, 2)), (6, 6, 4)),
    "standardized depthwise": Case(
        WSDepthwiseConv2D((3, 2), depth_multiplier=2), (6, 6, 4)
    ),
    "own": Case(Rows(), (4,)),
}


def weights_of_units(layer, shape, name, axes):
    """Returns the variable, and which of its weights each unit has.

    A unit has a weight if the gradient of its output with respect to the
    weight is not zero.
    """
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    if name == "embeddings":
        x = np.arange(6)[None]
    layer(x)
    if name == "depthwise_kernel":
        depthwise_part(layer)
    (weight,) = (v for v in layer.trainable_variables if v.name == name)

    def units(outputs):
        rank = len(outputs.shape)
        kept = [axis % rank for axis in axes]
        others = [i for i in range(rank) if i not in kept]
        return keras.ops.reshape(keras.ops.sum(outputs, others), (-1,))

    return weight, jacobian(layer, x, units, weight) != 0


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
def test_unit_is_what_one_output_depends_on(case):
    layer, *others = case
    layer = type(layer).from_config(layer.get_config())
    weight, owned = weights_of_units(layer, *others)
    # Each weight is of one unit.
    np.testing.assert_array_equal(owned.sum(0), 1)
    every = tuple(range(len(weight.shape)))
    for unit in owned:
        extents = [
            int(unit.any(axis=tuple(set(every) - {axis})).sum())
            for axis in every
        ]
        found = {axis for axis in every if extents[axis] > 1}
        # All weights along these axes, at one place along the others.
        assert unit.sum() == np.prod([weight.shape[axis] for axis in found])
        expected = unit_axes.unit_axes(layer, weight)
        assert {axis for axis in expected if weight.shape[axis] > 1} == found


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow traces them")
@pytest.mark.parametrize("shape", [(4, 3), (3, 3, 2, 4), (5,)])
def test_gradients_of_unknown_shape(shape):
    import tensorflow as tf

    draw = np.random.default_rng(0)
    weight, gradient = draw.normal(size=(2, *shape)).astype("float32")
    unknown = tf.TensorSpec([None] * len(shape))

    @tf.function(input_signature=[unknown])
    def clip(gradient):
        return agc.adaptive_clip([gradient], [weight])[0]

    (expected,) = agc.adaptive_clip([gradient], [weight])
    np.testing.assert_array_equal(to_numpy(clip(gradient)), to_numpy(expected))


def test_vectors_are_one_unit_in_any_layer():
    layer = keras.layers.Conv1D(5, 1)
    layer.build((None, 8, 1))
    assert unit_axes.unit_axes(layer, layer.kernel) == (0, 1, 2)
    assert unit_axes.unit_axes(layer, layer.bias) == (0,)


def test_unknown_ranks_are_refused():
    with pytest.raises(ValueError, match="ranks 0 to 4"):
        agc.unitwise_norm(np.ones((2, 2, 2, 2, 2)))

    class Custom(keras.layers.Layer):
        def build(self, _):
            self.cube = self.add_weight(shape=(2,) * 5, name="cube")

    layer = Custom(name="custom")
    layer.build(None)
    with pytest.raises(ValueError, match="cube"):
        unit_axes.unit_axes(layer, layer.cube)


@pytest.mark.parametrize("name", ["clipping", "epsilon"])
@pytest.mark.parametrize("value", [0, -0.01, float("nan")])
def test_clipping_and_epsilon_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be positive"):
        keras_nfnets.AGC(**{name: value})
    with pytest.raises(ValueError, match=f"`{name}` must be positive"):
        _clip(np.ones(3), np.ones(3), **{name: value})


def test_lists_must_have_one_length():
    with pytest.raises(ValueError, match="same length"):
        agc.adaptive_clip([np.ones(3)], [])


def test_variables_come_second():
    variable = keras.Variable(np.ones(3), name="bias")
    with pytest.raises(ValueError, match="come second.*'bias'"):
        keras_nfnets.AGC().clip([variable], [np.ones(3)])


@keras.saving.register_keras_serializable("tests")
def no_gains(variable):
    return "gain" in variable.path


@pytest.mark.parametrize(
    "settings",
    [
        keras_nfnets.AGC(),
        keras_nfnets.AGC(0.02, 1e-2, exclude=["head/", "gain$"], metric=False),
        keras_nfnets.AGC(exclude=no_gains),
    ],
)
def test_settings_round_trip(settings):
    config = keras.saving.serialize_keras_object(settings)
    assert keras.saving.deserialize_keras_object(config) == settings


def test_tensors_are_clipped_as_one():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype("float32") for s in ((4, 3), (5,)) * 2]
    gradients, variables = arrays[:2], [keras.Variable(a) for a in arrays[2:]]
    settings = keras_nfnets.AGC(0.3, unit="tensor")
    for g, v, clipped in zip(
        gradients, variables, settings.clip(gradients, variables), strict=True
    ):
        limit = 0.3 * np.linalg.norm(to_numpy(v)) / np.linalg.norm(g)
        np.testing.assert_allclose(to_numpy(clipped), g * limit, rtol=1e-5)
    with pytest.raises(ValueError, match="`unit` must be one of.*='layer'"):
        keras_nfnets.AGC(unit="layer")


def test_norms_that_are_not_finite():
    nan, inf = np.nan, np.inf
    gradient = np.array([[nan, inf, 1e30, 1.0], [1.0, 1.0, 1.0, 9.0]], "f")
    with np.errstate(all="ignore"):
        clipped = _clip(gradient, np.ones((2, 4), "f"))
        by_weights = _clip(np.ones((2, 1), "f"), np.array([[nan], [1]], "f"))
    np.testing.assert_array_equal(clipped[:, 0], [nan, 1])
    np.testing.assert_array_equal(clipped[:, 1], [nan, 0])
    # Its square is too large for float32.
    np.testing.assert_array_equal(clipped[:, 2], [0, 0])
    assert np.isfinite(clipped[:, 3]).all()
    np.testing.assert_array_equal(by_weights, 1)


@pytest.mark.parametrize(
    "exclude, held",
    [
        (re.compile("a/"), ("a/",)),
        ([re.compile("a/"), "b"], ("a/", "b")),
        ({"b", "a"}, ("a", "b")),
    ],
)
def test_exclude_is_held_as_it_is_saved(exclude, held):
    settings = keras_nfnets.AGC(exclude=exclude)
    assert settings.exclude == held
    config = keras.saving.serialize_keras_object(settings)
    assert keras.saving.deserialize_keras_object(config) == settings


@pytest.mark.parametrize("exclude", [None, 3, ["("], [lambda v: True], "("])
def test_exclude_of_another_kind_is_refused(exclude):
    with pytest.raises(ValueError, match="`exclude` must"):
        keras_nfnets.AGC(exclude=exclude)


def test_exclude_needs_paths_to_search():
    values = [keras.ops.ones((2, 2))]
    with pytest.raises(ValueError, match="`variables` must be of class keras"):
        keras_nfnets.AGC(exclude=["bias"]).clip(values, values)


def own_layer(axes):
    layer = keras.layers.Dense(6, name="own")
    layer.build((None, 5))
    layer.kernel_unit_axes = axes
    return layer


def test_axes_of_a_layer_may_count_from_the_end():
    layer = own_layer((-2,))
    assert unit_axes.unit_axes(layer, layer.kernel) == (0,)


@pytest.mark.parametrize("axes", [1, (5,), (), ("a",)])
def test_axes_of_a_layer_are_checked(axes):
    layer = own_layer(axes)
    with pytest.raises(ValueError, match="`kernel_unit_axes` must.*'own'"):
        unit_axes.unit_axes(layer, layer.kernel)
