"""AGC under `model.fit` goes with what Keras models are made of and do."""

import keras
import numpy as np
import pytest
from agc_models import (
    assert_weights,
    by_hand,
    clipped_paths,
    dense_data,
    dense_model,
)
from helpers import (
    BACKEND,
    to_numpy,
)

import keras_nfnets
from keras_nfnets.training import agc_step
from keras_nfnets.training.optimizers import SGD, WarmupCosine


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@pytest.mark.filterwarnings("ignore:.*gradients of trainable:UserWarning")
def test_layers_without_gradient_are_left_alone():
    class Stopped(keras.layers.Dense):
        def call(self, inputs):
            return keras.ops.stop_gradient(super().call(inputs))

    inputs = keras.Input((8,))
    x = Stopped(6)(inputs)
    model = keras_nfnets.AGCModel(inputs, keras.layers.Dense(3)(x))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = model.get_weights()
    model.fit(*dense_data(8), verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[3] - after[3]).max() > 0


def test_embeddings_are_clipped_row_by_row():
    inputs = keras.Input((2,), dtype="int32")
    x = keras.layers.Embedding(4, 5, name="rows")(inputs)
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    model = keras_nfnets.AGCModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    before = model.get_layer("rows").get_weights()[0]
    model.fit(np.array([[0, 0], [0, 2]]), 1e3 * np.ones((2, 3)), verbose=0)
    moved = model.get_layer("rows").get_weights()[0] - before
    norm, limit = (np.linalg.norm(a, axis=1) for a in (moved, before))
    np.testing.assert_allclose(norm[[0, 2]], 0.01 * limit[[0, 2]], rtol=1e-4)
    np.testing.assert_array_equal(norm[[1, 3]], 0)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras_nfnets.AGCModel):
    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, "tanh")
        self.top = keras.layers.Dense(3)

    def call(self, inputs, training=False):
        return self.top(self.hidden(inputs))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_works_as_a_base_class_also_after_a_functional_model(tmp_path):
    x, y = dense_data()
    functional = dense_model()
    model = Subclassed()
    model(x)
    model.set_weights(functional.get_weights())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_weights(model, by_hand(x, y, 4))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is Subclassed
    np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))


def test_a_subclass_may_build_itself_functionally():
    class Built(keras_nfnets.AGCModel):
        def __init__(self, units):
            inputs = keras.Input((8,))
            x = keras.layers.Dense(units, "tanh")(inputs)
            super().__init__(inputs, keras.layers.Dense(3)(x))

    x, y = dense_data()
    model = Built(6)
    model.set_weights(dense_model().get_weights())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_weights(model, by_hand(x, y, 4))
    assert isinstance(model, Built)
    assert Subclassed().hidden is not None  # still a plain base class


def test_a_step_of_ones_own_composes():
    calls = []

    class Counting(keras_nfnets.AGCModel):
        def train_step(self, *args):
            calls.append(args)
            return super().train_step(*args)

    x, y = dense_data(8)
    model = dense_model(Counting)
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    model.fit(x, y, batch_size=8, verbose=0)
    assert_weights(model, by_hand(x, y, 1))
    assert len(calls) == 1


def test_validation_and_evaluation_do_not_report_clipping():
    x, y = dense_data()
    model = dense_model()
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    fit = model.fit(x, y, validation_data=(x, y), verbose=0)
    assert set(fit.history) == {
        "loss", "mae", "agc_clipped", "val_loss", "val_mae",
    }  # fmt: skip
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "mae"}
    assert len(model.evaluate(x, y, verbose=0)) == 2


def test_metric_can_be_turned_off():
    x, y = dense_data()
    model = dense_model()
    settings = keras_nfnets.AGC(metric=False)
    model.compile(keras.optimizers.SGD(0.1), "mse", agc=settings)
    fit = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert set(fit.history) == {"loss"}
    assert_weights(model, by_hand(x, y, 4))


@pytest.mark.parametrize(
    "exclude, clipped",
    [
        ("classifier", ["hidden/kernel", "hidden/bias", "top/bias"]),
        ((), ["hidden/kernel", "hidden/bias", "top/kernel", "top/bias"]),
        (["top/"], ["hidden/kernel", "hidden/bias"]),
        (lambda v: "bias" in v.path, ["hidden/kernel", "top/kernel"]),
    ],
)
def test_exclude(exclude, clipped):
    model = dense_model()
    model.compile("sgd", "mse", agc=keras_nfnets.AGC(exclude=exclude))
    model.optimizer.build(model.trainable_variables)
    assert clipped_paths(model) == clipped


def test_bad_settings_are_refused():
    model = dense_model()
    with pytest.raises(ValueError, match="must match at least one"):
        model.compile("sgd", "mse", agc=keras_nfnets.AGC(exclude=["to[q]"]))
    with pytest.raises(ValueError, match="`agc` must be an instance"):
        model.compile("sgd", "mse", agc=0.01)


@pytest.mark.parametrize("optimizer", ["sgd_nf", "adam"])
def test_resumed_fit_continues_the_same_trajectory(tmp_path, optimizer):
    def make():
        if optimizer == "adam":
            return keras.optimizers.Adam(0.01)
        schedule = WarmupCosine(0.2, 2, 12)
        return SGD(schedule, use_ema=True, ema_momentum=0.9)

    x, y = dense_data()
    model = dense_model()
    model.compile(make(), "mse", agc=keras_nfnets.AGC(0.02))
    arguments = dict(batch_size=8, shuffle=False, verbose=0)
    model.fit(x, y, epochs=1, **arguments)
    model.save(tmp_path / "model.keras")
    model.fit(x, y, epochs=3, initial_epoch=1, **arguments)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.agc == keras_nfnets.AGC(0.02)
    loaded.fit(x, y, epochs=3, initial_epoch=1, **arguments)
    for ours, theirs in (
        (model.weights, loaded.weights),
        (model.optimizer.variables, loaded.optimizer.variables),
    ):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


def test_keras_without_the_place_for_clipping_is_refused(monkeypatch):
    monkeypatch.setitem(agc_step._HOOKED_METHOD, BACKEND, "_renamed_by_keras")
    with pytest.raises(RuntimeError, match="has no _renamed_by_keras"):
        dense_model().compile(keras.optimizers.SGD(0.1), "mse")


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's tracing")
@pytest.mark.parametrize("metrics", [None, ["accuracy"], ["accuracy", "mse"]])
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_step_is_traced_once(method, metrics):
    """A trace that makes variables is thrown away, and with it its time."""
    traces = []

    class Counting(keras_nfnets.AGCModel):
        def train_step(self, data):
            traces.append(data)
            return super().train_step(data)

        def test_step(self, data):
            traces.append(data)
            return super().test_step(data)

    inputs = keras.Input((4,))
    model = Counting(inputs, keras.layers.Dense(3, "softmax")(inputs))
    model.compile("sgd", "categorical_crossentropy", metrics=metrics)
    for _ in range(2):
        getattr(model, method)(np.ones((8, 4)), np.eye(3)[[0] * 8], verbose=0)
        assert len(traces) == 1
    assert len(model.get_metrics_result()) == 1 + len(metrics or ())
