"""AGC under `model.fit`: what a step does, and what it composes with."""

import keras
import numpy as np
import pytest
from helpers import (
    BACKEND,
    Reference,
    tiny_variant,
    to_numpy,
    variant_of,
)

import keras_nfnets
from keras_nfnets.training import agc_step, unitwise
from keras_nfnets.training.agc_rules import inner_optimizer
from keras_nfnets.training.optimizers import SGD, WarmupCosine
from keras_nfnets.weights.names import assign, haiku_slots

CLIPPING = 0.01


def _data(samples=32, size=32, classes=5):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, size, size, 3)).astype("float32")
    return x, rng.integers(0, classes, samples)


def _dense_model(cls=keras_nfnets.AGCModel, dtype=None):
    """Small, and with every kind of unit that a Dense model has."""
    inputs = keras.Input((8,))
    x = keras.layers.Dense(6, "tanh", dtype=dtype, name="hidden")(inputs)
    outputs = keras.layers.Dense(3, dtype=dtype, name="top")(x)
    model = cls(inputs, outputs)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=v.shape) for v in model.weights])
    return model


def _dense_data(samples=32):
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(samples, 8)).astype("float32"),
        rng.normal(size=(samples, 3)).astype("float32") * 10,
    )


def _by_hand(x, y, steps, rate=0.1, batch=8, clipping=CLIPPING, epsilon=1e-3):
    """SGD with AGC on `_dense_model`, in float64 numpy."""
    w, b, v, c = (to_numpy(p).astype("float64") for p in _dense_model().weights)
    for start in range(0, steps * batch, batch):
        xs, ys = (a[start : start + batch].astype("float64") for a in (x, y))
        h = np.tanh(xs @ w + b)
        d_out = 2 * (h @ v + c - ys) / ys.size
        d_h = (d_out @ v.T) * (1 - h**2)
        grads = [xs.T @ d_h, d_h.sum(0), h.T @ d_out, d_out.sum(0)]
        axes = [(0,), (0,), None, (0,)]  # the top's kernel is not clipped
        for p, g, axis in zip((w, b, v, c), grads, axes, strict=True):
            factor = 1.0
            if axis is not None:
                norm = np.sqrt((g**2).sum(axis, keepdims=True))
                weight = np.sqrt((p**2).sum(axis, keepdims=True))
                limit = clipping * np.maximum(weight, epsilon)
                factor = np.minimum(1, limit / np.maximum(norm, 1e-6))
            p -= rate * g * factor
    return [w, b, v, c]


def _assert_weights(model, expected, atol=1e-6):
    for variable, array in zip(model.weights, expected, strict=True):
        np.testing.assert_allclose(to_numpy(variable), array, atol=atol)


def clipped_paths(model):
    """The paths of the variables that the optimizer clips."""
    units = inner_optimizer(model.optimizer).rules.units
    variables = model.trainable_variables
    return [v.path for v, u in zip(variables, units, strict=True) if u]


MODES = [
    dict(jit_compile=False),
    dict(jit_compile=True),
    dict(jit_compile="auto"),
    dict(run_eagerly=True),
    dict(steps_per_execution=2),
]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_fit_is_the_formula(mode):
    if BACKEND == "torch" and mode.get("jit_compile") is True:
        pytest.skip("torch.compile needs a C++ compiler and minutes")
    if BACKEND == "torch" and "steps_per_execution" in mode:
        pytest.skip("Keras on PyTorch runs one step per execution")
    x, y = _dense_data()
    model = _dense_model()
    model.compile(keras.optimizers.SGD(0.1), "mse", **mode)
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    _assert_weights(model, _by_hand(x, y, 4))
    # The targets are large: every unit of every step is clipped.
    assert history.history["agc_clipped"] == [1.0]


def test_agc_none_is_keras_to_the_bit():
    x, y = _dense_data()
    weights, logs = [], []
    for cls, extra in (
        (keras.Model, {}),
        (keras_nfnets.AGCModel, {"agc": None}),
    ):
        model = _dense_model(cls)
        model.compile(
            keras.optimizers.SGD(0.1), "mse", metrics=["mae"], **extra
        )
        keras.utils.set_random_seed(2)
        fit = model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        weights.append(model.get_weights())
        logs.append(fit.history)
    assert logs[0] == logs[1]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_five_steps_are_the_papers():
    reference = Reference("train")
    meta = reference.meta
    model = keras_nfnets.NFNet(
        variant_of(
            {
                "variant": meta["variant"],
                "kwargs": meta["model"],
                "final_ch": 2 * meta["variant"]["width"][-1],
            }
        ),
        input_shape=(*meta["size"], 3),
        classes=meta["num_classes"],
        classifier_activation=None,
        dropout=0.0,
    )
    assign(haiku_slots(model), reference.under("init/"))
    opt, sched = meta["opt"], meta["sched"]
    schedule = WarmupCosine(
        meta["lr"] * meta["train_batch_size"] / 256,
        sched["warmup_steps"],
        sched["num_steps"],
    )
    model.compile(
        SGD(
            schedule,
            opt["momentum"],
            opt["nesterov"],
            opt["weight_decay"],
            use_ema=True,
            ema_momentum=meta["ema_decay"],
        ),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=meta["label_smoothing"]
        ),
        agc=keras_nfnets.AGC(opt["clipping"], opt["eps"]),
    )
    losses = []
    for step in range(meta["steps"]):
        x = reference[f"batch{step}/images"]
        y = keras.utils.to_categorical(
            reference[f"batch{step}/labels"], meta["num_classes"]
        )
        logs = model.train_on_batch(x, y, return_dict=True)
        model.reset_metrics()
        losses.append(float(logs["loss"]))
        if step == 0:
            _check_momentum(model, reference.under("step1/momentum/"))
    np.testing.assert_allclose(
        losses, reference["metrics/train_loss"], rtol=1e-5
    )
    averages = dict(
        zip(
            map(id, model.trainable_variables),
            model.optimizer._model_variables_moving_average,
            strict=True,
        )
    )
    for name, slot in haiku_slots(model).items():
        # 5e-6 is ten times the noise of the reference after five steps.
        final = reference[f"final/params/{name}"]
        np.testing.assert_allclose(to_numpy(slot.variable), final, atol=5e-6)
        average = reference[f"final/ema/{name}"]
        found = to_numpy(averages[id(slot.variable)])
        np.testing.assert_allclose(found, average, atol=1e-5)


def _check_momentum(model, expected):
    momentums = dict(
        zip(
            map(id, model.trainable_variables),
            model.optimizer.momentums,
            strict=True,
        )
    )
    for name, slot in haiku_slots(model).items():
        found = to_numpy(momentums[id(slot.variable)])
        bound = 2e-4 * np.abs(expected[name]).max() + 2e-6
        np.testing.assert_allclose(found, expected[name], atol=bound)


@pytest.mark.parametrize(
    "optimizer",
    ["adam", "rmsprop", "lion", keras.optimizers.AdamW(weight_decay=0.01)],
    ids=["adam", "rmsprop", "lion", "adamw"],
)
def test_any_keras_optimizer_gets_clipped_gradients(optimizer):
    x, y = _dense_data(8)
    seen = []
    optimizer = keras.optimizers.deserialize(
        keras.optimizers.serialize(keras.optimizers.get(optimizer))
    )
    model = _dense_model()
    model.compile(optimizer, "mse", run_eagerly=True)
    clip = optimizer._clip

    def spy(gradients, variables):
        clipped = clip(gradients, variables)
        seen.append([to_numpy(g) for g in clipped])
        return clipped

    optimizer._clip = spy
    before = model.get_weights()
    model.fit(x, y, batch_size=8, verbose=0)
    assert len(seen) == 1
    for i in (0, 1, 3):  # not the top's kernel
        axes = unitwise.axes_of_shape(before[i].shape)
        norm = np.sqrt((seen[0][i] ** 2).sum(axes))
        limit = np.sqrt((before[i] ** 2).sum(axes))
        assert (norm <= 1.01 * CLIPPING * np.maximum(limit, 1e-3)).all()
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.abs(old - new).max() > 0


def test_accumulates_before_clipping():
    x, y = _dense_data()
    model = _dense_model()
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    model.compile(optimizer, "mse")
    fit = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    # Four batches of 8 are one of 32.
    _assert_weights(model, _by_hand(x, y, 1, batch=32))
    assert fit.history["agc_clipped"] == [1.0]


def test_share_of_clipped_units_counts_updates_only():
    x, y = _dense_data()
    shares = []
    for steps, batch in ((None, 32), (4, 8)):
        model = _dense_model()
        model.compile(
            keras.optimizers.SGD(0.0, gradient_accumulation_steps=steps),
            "mse",
            agc=keras_nfnets.AGC(1.0),  # some units, not all
        )
        fit = model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)
        shares += fit.history["agc_clipped"]
    assert 0 < shares[0] < 1
    assert shares[0] == shares[1]


def _float16_model():
    keras.config.set_dtype_policy("mixed_float16")
    model = _dense_model()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def test_clips_after_unscaling():
    x, y = _dense_data(8)
    model = _float16_model()
    assert model.optimizer.initial_scale == 2.0**15
    fit = model.fit(x, y / 10, batch_size=8, shuffle=False, verbose=0)
    # float16 gradients: three digits.
    expected = _by_hand(x, y / 10, 1)
    _assert_weights(model, expected, atol=1e-4)
    assert fit.history["agc_clipped"][0] > 0.5


def test_step_that_overflows_changes_no_weight_and_no_momentum():
    x, y = _dense_data(8)
    model = _float16_model()
    model.fit(x, y / 10, batch_size=8, verbose=0)
    # The last two say what was clipped, and start anew with each epoch.
    state = [*model.weights, *model.optimizer.inner_optimizer.variables[:-2]]
    before = [to_numpy(v) for v in state]
    scale = float(model.optimizer.dynamic_scale)
    model.fit(x, y * 1e6, batch_size=8, verbose=0)
    assert float(model.optimizer.dynamic_scale) == scale / 2
    for variable, array in zip(state, before, strict=True):
        np.testing.assert_array_equal(to_numpy(variable), array)
    model.fit(x, y / 10, batch_size=8, verbose=0)
    assert np.abs(to_numpy(model.weights[0]) - before[0]).max() > 0


def test_mixed_bfloat16_trains():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras_nfnets.NFNet(
        tiny_variant(depths=(1,)), input_shape=(32, 32, 3), classes=5
    )
    model.compile(SGD(0.5), "sparse_categorical_crossentropy")
    x, y = _data()
    fit = model.fit(x, y, batch_size=32, epochs=8, verbose=0)
    assert fit.history["loss"][-1] < fit.history["loss"][0]
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_sample_and_class_weights_weigh_the_gradient():
    x, y = _dense_data(8)
    weights = np.array([1, 0] * 4, "float32")
    model = _dense_model()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, sample_weight=weights, batch_size=8, verbose=0)
    half = _by_hand(np.repeat(x[::2], 2, 0), np.repeat(y[::2], 2, 0), 1)
    # Half of the samples at weight one: half the loss, but clipped all the
    # same, in every unit but the top's kernel.
    for i in (0, 1, 3):
        np.testing.assert_allclose(
            to_numpy(model.weights[i]), half[i], atol=1e-6
        )


def test_class_weights():
    inputs = keras.Input((8,))
    logits = keras.layers.Dense(3, "softmax")(inputs)
    moved = []
    for weights in ({0: 0.0, 1: 0.0, 2: 0.0}, {0: 1.0, 1: 1.0, 2: 2.0}):
        model = keras_nfnets.AGCModel(inputs, logits)
        model.compile(
            keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy"
        )
        before = model.get_weights()
        x, _ = _dense_data(9)
        labels = np.arange(9) % 3
        model.fit(x, labels, class_weight=weights, verbose=0)
        moved.append(np.abs(model.get_weights()[0] - before[0]).max())
    assert moved[0] == 0 < moved[1]


def test_several_outputs_and_losses():
    inputs = keras.Input((8,))
    x = keras.layers.Dense(6, name="body")(inputs)
    model = keras_nfnets.AGCModel(
        inputs,
        {
            "a": keras.layers.Dense(3, name="a")(x),
            "b": keras.layers.Activation("softmax", name="b")(
                keras.layers.Dense(4, name="logits")(x)
            ),
        },
    )
    model.compile(
        keras.optimizers.SGD(0.1),
        {"a": "mse", "b": "sparse_categorical_crossentropy"},
    )
    data, targets = _dense_data(8)
    logs = model.fit(
        data, {"a": targets, "b": np.arange(8) % 4}, verbose=0
    ).history
    assert {"a_loss", "b_loss", "agc_clipped"} <= logs.keys()
    # Both of the dense layers that make outputs keep their kernels' gradient.
    found = clipped_paths(model)
    assert not {"a/kernel", "logits/kernel"} & set(found)
    assert "body/kernel" in found


def test_frozen_layers_stay_and_the_others_train():
    model = keras_nfnets.NFNet(
        tiny_variant(depths=(1,)), input_shape=(32, 32, 3), classes=5
    )
    model.get_layer("stem").trainable = False
    model.get_layer("stage1_block0").conv0.trainable = False
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    before = {v.path: to_numpy(v) for v in model.weights}
    model.fit(*_data(), batch_size=32, verbose=0)
    moved = {
        v.path for v in model.weights if (to_numpy(v) != before[v.path]).any()
    }
    frozen = {p for p in before if p.startswith("stem/")}
    frozen |= {p for p in before if p.startswith("stage1_block0/conv0/")}
    assert not moved & frozen
    assert "head/conv/kernel" in moved and "head/classifier/kernel" in moved


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
    model.fit(*_dense_data(8), verbose=0)
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
    x, y = _dense_data()
    functional = _dense_model()
    model = Subclassed()
    model(x)
    model.set_weights(functional.get_weights())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    _assert_weights(model, _by_hand(x, y, 4))
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

    x, y = _dense_data()
    model = Built(6)
    model.set_weights(_dense_model().get_weights())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    _assert_weights(model, _by_hand(x, y, 4))
    assert isinstance(model, Built)
    assert Subclassed().hidden is not None  # still a plain base class


def test_a_step_of_ones_own_composes():
    calls = []

    class Counting(keras_nfnets.AGCModel):
        def train_step(self, *args):
            calls.append(args)
            return super().train_step(*args)

    x, y = _dense_data(8)
    model = _dense_model(Counting)
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    model.fit(x, y, batch_size=8, verbose=0)
    _assert_weights(model, _by_hand(x, y, 1))
    assert len(calls) == 1


def test_validation_and_evaluation_do_not_report_clipping():
    x, y = _dense_data()
    model = _dense_model()
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    fit = model.fit(x, y, validation_data=(x, y), verbose=0)
    assert set(fit.history) == {
        "loss", "mae", "agc_clipped", "val_loss", "val_mae",
    }  # fmt: skip
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "mae"}
    assert len(model.evaluate(x, y, verbose=0)) == 2


def test_metric_can_be_turned_off():
    x, y = _dense_data()
    model = _dense_model()
    settings = keras_nfnets.AGC(metric=False)
    model.compile(keras.optimizers.SGD(0.1), "mse", agc=settings)
    fit = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert set(fit.history) == {"loss"}
    _assert_weights(model, _by_hand(x, y, 4))


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
    model = _dense_model()
    model.compile("sgd", "mse", agc=keras_nfnets.AGC(exclude=exclude))
    model.optimizer.build(model.trainable_variables)
    assert clipped_paths(model) == clipped


def test_bad_settings_are_refused():
    model = _dense_model()
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

    x, y = _dense_data()
    model = _dense_model()
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
    monkeypatch.setitem(agc_step._PLACE, BACKEND, "_renamed_by_keras")
    with pytest.raises(RuntimeError, match="has no _renamed_by_keras"):
        _dense_model().compile(keras.optimizers.SGD(0.1), "mse")


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
