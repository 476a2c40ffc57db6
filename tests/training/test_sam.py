"""A step with SAM takes two gradients, and leaves the rest as it is."""

import keras
import numpy as np
import numpy_model
import pytest
from agc_models import dense_model
from helpers import BACKEND, to_numpy

import keras_nfnets
from keras_nfnets.training import sam
from keras_nfnets.training.optimizers import SGD

CLIPPING = 0.3  # clips some units of the tests' steps, not all


def data(samples=16):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 8)).astype("float32")
    y = rng.normal(size=(samples, 3)).astype("float32")
    weights = rng.uniform(0.5, 2, size=samples).astype("float32")
    return x, y, weights


class Again(keras.layers.Dense):
    """A layer that is computed again for its gradient."""

    def call(self, inputs):
        return keras.remat(super().call)(inputs)


def by_hand(rho, fraction, norms_of_perturbed=False):
    """The weights after two steps of `trained`, in float64 NumPy.

    `norms_of_perturbed` makes the mistake of clipping by the weights that SAM
    has moved.
    """
    parameters = numpy_model.initial_parameters()
    velocity = [np.zeros_like(p) for p in parameters]
    for batch in numpy_model.batches(8, *data()):
        gradients = numpy_model.sam_gradient(parameters, batch, rho, fraction)
        weights = parameters
        if norms_of_perturbed:
            first = [a[: round(fraction * 8)] for a in batch]
            uphill = numpy_model.gradient(parameters, *first)
            weights = numpy_model.perturbed(parameters, uphill, rho)
        parameters, velocity = numpy_model.momentum_step(
            parameters,
            velocity,
            numpy_model.adaptive_clip(gradients, weights, CLIPPING),
            rate=0.2,
            momentum=0.9,
        )
    return parameters


def trained(settings, hidden=keras.layers.Dense, **mode):
    model = dense_model(hidden=hidden)
    model.compile(
        SGD(0.2, l2=0.0),
        "mse",
        agc=keras_nfnets.AGC(CLIPPING),
        sam=settings,
        **mode,
    )
    x, y, weights = data()
    fit = model.fit(
        x, y, 8, sample_weight=weights, shuffle=False, verbose=0
    ).history
    return [to_numpy(v) for v in model.weights], fit


def distance(ours, theirs):
    return max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))


MODES = [
    dict(),
    dict(run_eagerly=True),
    dict(jit_compile=True),
    dict(steps_per_execution=2),
]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_two_steps_are_the_formula(mode):
    if BACKEND == "torch" and {"jit_compile", "steps_per_execution"} & set(
        mode
    ):
        pytest.skip("needs a C++ compiler; Keras runs one step per execution")
    weights, fit = trained(keras_nfnets.SAM(0.5, 0.25), **mode)
    # Ten times what float32 rounds off a weight of 3 (2.4e-7) in two steps.
    assert distance(weights, by_hand(0.5, 0.25)) < 5e-6
    assert 0 < fit["agc_clipped"][0] < 1


def test_formula_tells_mistakes_apart():
    expected = by_hand(0.5, 0.25)
    mistakes = [
        by_hand(1e-9, 0.25),  # no SAM
        by_hand(0.5, 1.0),  # of the whole batch
        by_hand(0.5, 0.25, norms_of_perturbed=True),
    ]
    assert min(distance(m, expected) for m in mistakes) > 1e-3


def test_plain_steps_are_the_limit():
    plain, _ = trained(None)
    limit, _ = trained(keras_nfnets.SAM(1e-8))
    assert distance(plain, limit) < 1e-6


def test_without_clipping():
    model = dense_model()
    model.compile(
        keras.optimizers.SGD(0.1), "mse", agc=None, sam=keras_nfnets.SAM(0.5, 1)
    )
    x, y, _ = data(8)
    model.fit(x, y, 8, verbose=0)
    (batch,) = numpy_model.batches(8, x, y)
    parameters = numpy_model.initial_parameters()
    expected = [
        p - 0.1 * g
        for p, g in zip(
            parameters,
            numpy_model.sam_gradient(parameters, batch, 0.5),
            strict=True,
        )
    ]
    assert distance(map(to_numpy, model.weights), expected) < 5e-6


def test_layers_that_compute_again():
    weights, _ = trained(keras_nfnets.SAM(0.5, 0.25), Again)
    assert distance(weights, by_hand(0.5, 0.25)) < 5e-6


def test_losses_of_layers_are_in_both_gradients():
    inputs = keras.Input((8,))
    layer = keras.layers.Dense(
        3,
        use_bias=False,
        kernel_regularizer=keras.regularizers.L2(0.1),
        activity_regularizer=keras.regularizers.L2(0.2),
    )
    model = keras_nfnets.AGCModel(inputs, layer(inputs))
    model.compile(
        keras.optimizers.SGD(0.1), "mse", agc=None, sam=keras_nfnets.SAM(0.5, 1)
    )
    x, y, _ = data(8)
    w = to_numpy(layer.kernel).astype("float64")
    # An activity's regularizer is a mean over samples since Keras 3.14.
    version = tuple(map(int, keras.__version__.split(".")[:2]))
    samples = len(x) if version >= (3, 14) else 1

    def gradient(w):
        error = 2 * x.T @ (x @ w - y) / y.size
        return error + 0.2 * w + 0.4 * x.T @ (x @ w) / samples

    there = numpy_model.perturbed([w], [gradient(w)], 0.5)[0]
    model.fit(x, y, 8, verbose=0)
    expected = w - 0.1 * gradient(there)
    np.testing.assert_allclose(to_numpy(layer.kernel), expected, atol=5e-6)


def test_models_that_fit_builds():
    class Unbuilt(keras_nfnets.AGCModel):
        def __init__(self):
            super().__init__()
            self.top = keras.layers.Dense(3, kernel_initializer="ones")

        def call(self, inputs):
            return self.top(inputs)

    weights = []
    for build in (False, True):
        model = Unbuilt()
        model.compile(keras.optimizers.SGD(0.1), "mse", sam=keras_nfnets.SAM(1))
        if build:
            model(np.zeros((1, 8), "float32"))
        x, y, _ = data()
        model.fit(x, y, 8, shuffle=False, verbose=0)
        weights.append([to_numpy(v) for v in model.weights])
    assert distance(*weights) < 1e-6


def random_model():
    """With seeds, statistics and two losses, that a pass over it changes."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = keras.layers.BatchNormalization(name="norm")(inputs)
    x = keras.layers.Dropout(0.5, seed=1, name="dropout")(x)
    x = keras_nfnets.layers.StochasticDepth(0.5, seed=2, name="depth")(x)
    outputs = {n: keras.layers.Dense(3, name=n)(x) for n in ("one", "two")}
    return keras_nfnets.AGCModel(inputs, outputs)


def test_what_a_pass_changes_is_changed_once():
    x, y, _ = data()
    models = []
    for settings in (None, keras_nfnets.SAM()):
        model = random_model()
        model.compile(
            SGD(),
            {"one": "mse", "two": "mse"},
            metrics={"one": "mae"},
            sam=settings,
        )
        fit = model.fit(x, {"one": y, "two": y}, 8, verbose=0).history
        models.append(model)
    assert np.isfinite(fit["loss"]).all()
    plain, ours = models
    # Seeds, and statistics of the inputs, which no weight has a part in.
    for name in ("norm", "dropout", "depth"):
        layers = plain.get_layer(name), ours.get_layer(name)
        pairs = zip(*(x.non_trainable_variables for x in layers), strict=True)
        for theirs, found in pairs:
            np.testing.assert_array_equal(to_numpy(found), to_numpy(theirs))
    counts = [
        [float(to_numpy(v)) for v in m.metrics_variables if v.name == "count"]
        for m in models
    ]
    assert counts[0] == counts[1]
    # Two losses, their sum and a metric.
    assert sorted(counts[1]) == [16, 16, 16, 16]


def float16_model(share):
    keras.config.set_dtype_policy("mixed_float16")
    model = dense_model()
    model.compile(
        keras.optimizers.LossScaleOptimizer(SGD(0.2, l2=0.0), 2.0**10),
        "mse",
        agc=keras_nfnets.AGC(CLIPPING),
        sam=keras_nfnets.SAM(0.5, share),
    )
    return model


def test_mixed_float16():
    model = float16_model(0.25)
    x, y, weights = data()
    model.fit(x, y, 8, sample_weight=weights, shuffle=False, verbose=0)
    # float16 gradients: three digits.
    ours = map(to_numpy, model.weights)
    assert distance(ours, by_hand(0.5, 0.25)) < 5e-3


def test_overflow_of_the_first_gradient_skips_the_step():
    model = float16_model(1 / 16)
    x, y, _ = data()
    model.fit(x, y, 16, verbose=0)
    before = model.get_weights()
    # 2 ** 10 times its gradient is too large for float16 alone, and is not as
    # one of 16.
    y[0] += 150
    fit = model.fit(x, y, 16, shuffle=False, verbose=0).history
    assert np.isfinite(fit["loss"]).all()
    assert float(model.optimizer.dynamic_scale) == 2**9
    assert distance(model.get_weights(), before) == 0


@pytest.mark.skipif(BACKEND == "jax", reason="JAX never moves a variable")
def test_interrupted_step_leaves_the_weights():
    calls = []

    def loss(y_true, y_pred):
        calls.append(y_pred)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return keras.ops.mean(keras.ops.square(y_true - y_pred), -1)

    model = dense_model()
    model.compile("sgd", loss, sam=keras_nfnets.SAM(), run_eagerly=True)
    before = model.get_weights()
    x, y, _ = data(8)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, 8, verbose=0)
    assert distance(model.get_weights(), before) == 0


def test_saved_and_loaded(tmp_path):
    settings = keras_nfnets.SAM(0.1, 0.5)
    model = dense_model()
    model.compile("sgd", "mse", sam=settings)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_compile_config()["sam"] == dict(
        keras.saving.serialize_keras_object(settings)
    )
    x, y, _ = data(8)
    for each in (model, loaded):
        each.fit(x, y, 8, shuffle=False, verbose=0)
    assert distance(loaded.get_weights(), model.get_weights()) == 0
    model.compile("sgd", "mse")
    assert "sam" not in model.get_compile_config()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(rho=0.0), "`rho` must be positive. Received: rho=0.0"),
        (dict(rho=float("nan")), "`rho` must be positive"),
        (
            dict(fraction=0.0),
            r"`fraction` must be in \(0, 1\]. Received: fraction=0.0",
        ),
        (dict(fraction=1.5), r"`fraction` must be in \(0, 1\]"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_nfnets.SAM(**arguments)


def test_bad_compile_arguments_are_refused():
    model = dense_model()
    with pytest.raises(
        ValueError, match="`sam` must be an instance.* sam=0.05"
    ):
        model.compile("sgd", "mse", sam=0.05)
    keras.config.set_dtype_policy("mixed_float16")
    for scaled in (model, dense_model()):
        with pytest.raises(
            ValueError, match="must be None with `sam`.*steps=4"
        ):
            scaled.compile(
                SGD(gradient_accumulation_steps=4),
                "mse",
                sam=keras_nfnets.SAM(),
            )


def test_first_share():
    x = np.arange(20).reshape(10, 2)
    data = {"x": x, "y": [x[:, 0], None]}
    found = sam.leading_fraction(data, 0.25)
    np.testing.assert_array_equal(found["x"], x[:2])
    np.testing.assert_array_equal(found["y"][0], x[:2, 0])
    assert found["y"][1] is None
    assert len(sam.leading_fraction(x, 0.01)) == 1
    assert len(sam.leading_fraction(x, 1.0)) == 10
    parts = to_numpy(sam.leading_fraction(x, 0.4, parts=2))
    np.testing.assert_array_equal(parts, x[[0, 1, 5, 6]])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="others know the size")
@pytest.mark.parametrize("share", [0.01, 0.2, 0.25, 0.5, 0.7])
def test_first_share_of_a_batch_of_any_size(share):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None])])
    def traced(x):
        return sam.leading_fraction(x, share)

    for size in (1, 2, 7, 10, 30):
        x = np.arange(size, dtype="float32")
        np.testing.assert_array_equal(traced(x), sam.leading_fraction(x, share))
