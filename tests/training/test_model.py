"""AGC under `model.fit` follows the papers' formula, whatever the precision."""

import keras
import numpy as np
import pytest
from agc_models import (
    CLIPPING,
    assert_weights,
    by_hand,
    clipped_paths,
    dense_data,
    dense_model,
    image_data,
)
from helpers import (
    BACKEND,
    Reference,
    least_variant,
    to_numpy,
    variant_of,
)

import keras_nfnets
from keras_nfnets.training import unit_layout
from keras_nfnets.training.optimizers import SGD, WarmupCosine
from keras_nfnets.weights.names import assign, haiku_targets

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
    x, y = dense_data()
    model = dense_model()
    model.compile(keras.optimizers.SGD(0.1), "mse", **mode)
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_weights(model, by_hand(x, y, 4))
    # The targets are large: every unit of every step is clipped.
    assert history.history["agc_clipped"] == [1.0]


def test_agc_none_is_keras_to_the_bit():
    x, y = dense_data()
    weights, logs = [], []
    for cls, extra in (
        (keras.Model, {}),
        (keras_nfnets.AGCModel, {"agc": None}),
    ):
        model = dense_model(cls)
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


@pytest.mark.long
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
    assign(haiku_targets(model), reference.under("init/"))
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
    for name, target in haiku_targets(model).items():
        # 5e-6 is ten times the noise of the reference after five steps.
        final = reference[f"final/params/{name}"]
        np.testing.assert_allclose(to_numpy(target.variable), final, atol=5e-6)
        average = reference[f"final/ema/{name}"]
        found = to_numpy(averages[id(target.variable)])
        np.testing.assert_allclose(found, average, atol=1e-5)


def _check_momentum(model, expected):
    momentums = dict(
        zip(
            map(id, model.trainable_variables),
            model.optimizer.momentums,
            strict=True,
        )
    )
    for name, target in haiku_targets(model).items():
        found = to_numpy(momentums[id(target.variable)])
        bound = 2e-4 * np.abs(expected[name]).max() + 2e-6
        np.testing.assert_allclose(found, expected[name], atol=bound)


@pytest.mark.parametrize(
    "optimizer",
    ["adam", "rmsprop", "lion", keras.optimizers.AdamW(weight_decay=0.01)],
    ids=["adam", "rmsprop", "lion", "adamw"],
)
def test_any_keras_optimizer_gets_clipped_gradients(optimizer):
    x, y = dense_data(8)
    seen = []
    optimizer = keras.optimizers.deserialize(
        keras.optimizers.serialize(keras.optimizers.get(optimizer))
    )
    model = dense_model()
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
        axes = unit_layout.axes_of_shape(before[i].shape)
        norm = np.sqrt((seen[0][i] ** 2).sum(axes))
        limit = np.sqrt((before[i] ** 2).sum(axes))
        assert (norm <= 1.01 * CLIPPING * np.maximum(limit, 1e-3)).all()
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.abs(old - new).max() > 0


def test_accumulates_before_clipping():
    x, y = dense_data()
    model = dense_model()
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    model.compile(optimizer, "mse")
    fit = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    # Four batches of 8 are one of 32.
    assert_weights(model, by_hand(x, y, 1, batch=32))
    assert fit.history["agc_clipped"] == [1.0]


def test_share_of_clipped_units_counts_updates_only():
    x, y = dense_data()
    shares = []
    for steps, batch in ((None, 32), (4, 8)):
        model = dense_model()
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
    model = dense_model()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def test_clips_after_unscaling():
    x, y = dense_data(8)
    model = _float16_model()
    assert model.optimizer.initial_scale == 2.0**15
    fit = model.fit(x, y / 10, batch_size=8, shuffle=False, verbose=0)
    # float16 gradients: three digits.
    expected = by_hand(x, y / 10, 1)
    assert_weights(model, expected, atol=1e-4)
    assert fit.history["agc_clipped"][0] > 0.5


def test_step_that_overflows_changes_no_weight_and_no_momentum():
    x, y = dense_data(8)
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
        least_variant(), input_shape=(32, 32, 3), classes=5
    )
    model.compile(SGD(0.5), "sparse_categorical_crossentropy")
    x, y = image_data()
    fit = model.fit(x, y, batch_size=32, epochs=8, verbose=0)
    assert fit.history["loss"][-1] < fit.history["loss"][0]
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_sample_and_class_weights_weigh_the_gradient():
    x, y = dense_data(8)
    weights = np.array([1, 0] * 4, "float32")
    model = dense_model()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, sample_weight=weights, batch_size=8, verbose=0)
    assert_weights(model, by_hand(x, y, 1, sample_weights=weights))


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
        x, _ = dense_data(9)
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
    data, targets = dense_data(8)
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
        least_variant(), input_shape=(32, 32, 3), classes=5
    )
    model.get_layer("stem").trainable = False
    model.get_layer("stage1_block0").conv0.trainable = False
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    before = {v.path: to_numpy(v) for v in model.weights}
    model.fit(*image_data(), batch_size=32, verbose=0)
    moved = {
        v.path for v in model.weights if (to_numpy(v) != before[v.path]).any()
    }
    frozen = {p for p in before if p.startswith("stem/")}
    frozen |= {p for p in before if p.startswith("stage1_block0/conv0/")}
    assert not moved & frozen
    assert "head/conv/kernel" in moved and "head/classifier/kernel" in moved
