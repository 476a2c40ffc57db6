"""Training steps of one's own are clipped, and are as in Keras."""

import types

import keras
import numpy as np
import pytest
from agc_loops import data, dense_model, step_of_ones_own
from helpers import BACKEND

import keras_nfnets
from keras_nfnets import AGC
from keras_nfnets.training.optimizers import with_agc

SETTINGS = AGC(0.3)  # clips some units of the tests' steps, not all


def compiled(cls, **arguments):
    model = dense_model(cls)
    model.compile(
        keras.optimizers.SGD(0.1), "mse", metrics=["mae"], **arguments
    )
    return model


def fit(model, epochs=1, **arguments):
    x, y = data()
    arguments = dict(shuffle=False, verbose=0, epochs=epochs) | arguments
    return model.fit(x, y, 8, **arguments).history


def test_returns_and_metrics_are_those_of_a_keras_model():
    ours = compiled(keras_nfnets.AGCModel, agc=SETTINGS)
    plain = compiled(keras.Model)
    assert [m.name for m in ours.metrics] == [m.name for m in plain.metrics]
    x, y = data(8)
    for model in (ours, plain):
        assert len(model.evaluate(x, y, verbose=0)) == 2
        assert len(model.train_on_batch(x, y)) == 2
        logs = model.train_on_batch(x, y, return_dict=True)
        assert set(logs) == {"loss", "mae"}
    assert 0 < ours.optimizer.agc_report()["agc_clipped"] < 1


def test_mean_starts_anew_with_each_epoch():
    model = compiled(keras_nfnets.AGCModel, agc=SETTINGS)
    epochs = fit(model, 2)["agc_clipped"]
    assert model.optimizer.agc_report()["agc_clipped"] == epochs[1]
    assert epochs[0] != epochs[1]
    again = compiled(keras_nfnets.AGCModel, agc=SETTINGS)
    assert [fit(again)["agc_clipped"][0] for _ in range(2)] == epochs


def loop_over_metrics():
    model = dense_model(step_of_ones_own(keras_nfnets.AGCModel))
    # Keras makes a compiled list of metrics one; the guides' JAX loop and
    # these pass it labels and outputs.
    model.compile(keras.optimizers.SGD(0.1), "mse", agc=SETTINGS)
    return model


def put_on_the_instance():
    model = dense_model(keras_nfnets.AGCModel)
    model.compile(keras.optimizers.SGD(0.1), "mse", agc=SETTINGS)
    step = step_of_ones_own(object).train_step
    model.train_step = types.MethodType(step, model)
    return model


@pytest.mark.parametrize("make", [loop_over_metrics, put_on_the_instance])
def test_step_of_ones_own_is_clipped_and_reported(make):
    expected = compiled(keras_nfnets.AGCModel, agc=SETTINGS)
    shares = fit(expected, 2)["agc_clipped"]
    model = make()
    logs = fit(model, 2)
    assert set(logs) == {"loss", "agc_clipped"}
    assert logs["agc_clipped"] == shares
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Sampled(keras.layers.Layer):
    """A latent sample, and its divergence from a normal one as a loss."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, log_variance = keras.ops.split(inputs, 2, axis=-1)
        excess = keras.ops.exp(log_variance) - log_variance - 1
        self.add_loss(keras.ops.mean(keras.ops.square(mean) + excess))
        noise = keras.random.normal(keras.ops.shape(mean), seed=self.seeds)
        return mean + keras.ops.exp(log_variance / 2) * noise


class VAE(step_of_ones_own(keras_nfnets.AGCModel)):
    """As in Keras's examples, with a `metrics` property of its own."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.layers.Dense(4)
        self.sampled = Sampled()
        self.decoder = keras.layers.Dense(3)
        self.total = keras.metrics.Mean("loss")

    def call(self, inputs):
        return self.decoder(self.sampled(self.encoder(inputs)))

    @property
    def metrics(self):
        return [self.total]


def test_vae_with_a_metrics_property():
    weights = []
    for clipping in (1e-6, 1.0):
        keras.utils.set_random_seed(0)
        model = VAE()
        model.compile(
            keras.optimizers.SGD(0.1), "mse", agc=AGC(clipping, exclude=())
        )
        logs = fit(model)
        assert set(logs) == {"loss", "agc_clipped"}
        weights.append(model.get_weights())
    assert logs["agc_clipped"][0] < 1
    # A millionth of their norm in each of four steps is all that may move.
    assert np.abs(weights[0][1]).max() < 1e-6 < np.abs(weights[1][1]).max()


class OtherOptimizer(keras_nfnets.AGCModel):
    """A step that forgets the optimizer of `compile`."""

    def train_step(self, *args):
        compiled, self.optimizer = self.optimizer, self.other
        try:
            return keras.Model.train_step(self, *args)
        finally:
            self.optimizer = compiled


@pytest.mark.skipif(BACKEND == "jax", reason="the state is of one optimizer")
def test_step_without_the_optimizer_of_compile_is_refused():
    model = dense_model(OtherOptimizer)
    model.compile("sgd", "mse")
    model.other = keras.optimizers.SGD(0.1)
    with pytest.raises(ValueError, match="`train_step` must update with"):
        fit(model)
    model.compile("sgd", "mse", agc=None)
    model.other = with_agc(keras.optimizers.SGD(0.1), SETTINGS, model)
    assert set(fit(model)) == {"loss"}
    assert 0 < model.other.agc_report()["agc_clipped"] < 1


def test_compiled_again():
    model = dense_model(keras_nfnets.AGCModel)
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, "mse", agc=AGC(0.01))
    model.compile(optimizer, "mse", agc=SETTINGS)
    first = fit(model)
    other = compiled(keras_nfnets.AGCModel, agc=SETTINGS)
    assert first["agc_clipped"] == fit(other)["agc_clipped"]
    model.compile(optimizer, "mse", agc=AGC(1e-6))
    before = model.get_weights()[0]
    assert fit(model)["agc_clipped"] == [1.0]
    assert np.abs(model.get_weights()[0] - before).max() < 1e-5
    with pytest.raises(ValueError, match="must not have AGC already"):
        model.compile(optimizer, "mse", agc=None)
    with pytest.raises(ValueError, match="new optimizer"):
        model.compile(optimizer, "mse", agc=AGC(detailed=True))
    with pytest.raises(ValueError, match="must not have AGC already"):
        model.compile(with_agc("sgd", AGC(), model), "mse")


def test_units_at_the_floor_do_not_count():
    """Of a frozen backbone's model only zeros are left to clip."""
    model = dense_model(keras_nfnets.AGCModel)
    model.get_layer("hidden").trainable = False
    bias = model.get_layer("top").bias
    for value, share in ((0.0, 0.0), (1.0, 1.0)):
        bias.assign(keras.ops.full(bias.shape, value))
        model.compile(keras.optimizers.SGD(0.1), "mse", agc=AGC(1e-4))
        assert fit(model)["agc_clipped"] == [share]


def own_step():
    return dense_model(step_of_ones_own(keras_nfnets.AGCModel))


def own_step_on_the_instance():
    model = dense_model(keras_nfnets.AGCModel)
    step = step_of_ones_own(object).train_step
    model.train_step = types.MethodType(step, model)
    return model


@pytest.mark.parametrize(
    ("make", "agc"), [(own_step, SETTINGS), (own_step_on_the_instance, None)]
)
def test_step_without_sam_is_refused(make, agc):
    arguments = dict(optimizer="sgd", loss="mse", agc=agc)
    # A model of its own each: on JAX a step has given its weights away.
    model = make()
    model.compile(**arguments, sam=keras_nfnets.SAM())
    with pytest.raises(ValueError, match="`train_step` must be that of AGC"):
        fit(model)
    model = make()
    model.compile(**arguments, sam=keras_nfnets.SAM())
    x, y = data(8)
    with pytest.raises(ValueError, match="Pass `sam=None` to train without"):
        model.train_on_batch(x, y)
    model = make()
    model.compile(**arguments)
    assert "loss" in fit(model)


class Counting(keras_nfnets.AGCModel):
    """A step of one's own that calls that of its base."""

    def train_step(self, *args):
        return super().train_step(*args)


def test_step_that_calls_its_base_has_sam():
    weights = []
    for cls in (Counting, keras_nfnets.AGCModel):
        model = compiled(cls, agc=SETTINGS, sam=keras_nfnets.SAM(0.5))
        fit(model)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


class OwnReset(keras_nfnets.AGCModel):
    """A `reset_metrics` of one's own, with a metric of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.resets = 0

    def reset_metrics(self):
        super().reset_metrics()
        self.resets += 1


def test_reset_metrics_of_ones_own():
    expected = compiled(keras_nfnets.AGCModel, agc=SETTINGS)
    model = compiled(OwnReset, agc=SETTINGS)
    assert fit(model, 2) == fit(expected, 2)
    assert model.resets == 2
