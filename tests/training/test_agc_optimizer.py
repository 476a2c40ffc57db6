"""AGC in any optimizer is one training, by whatever way it enters a step."""

import keras
import numpy as np
import pytest
from agc_loops import (
    by_hand,
    data,
    dense_model,
    gradients_of,
    loop,
    step_of_ones_own,
)
from helpers import BACKEND, to_numpy

import keras_nfnets
from keras_nfnets import AGC
from keras_nfnets.training.optimizers import with_agc

AGC_SETTINGS = AGC(0.3)  # clips some units of the tests' steps, not all


def adam(steps=None):
    return keras.optimizers.Adam(0.01, gradient_accumulation_steps=steps)


def fit(model, epochs=5):
    x, y = data()
    logs = model.fit(x, y, 8, epochs=epochs, shuffle=False, verbose=0)
    return model.get_weights(), logs.history


def plain_model(steps):
    model = dense_model()
    optimizer = with_agc(adam(steps), AGC_SETTINGS, model)
    model.compile(optimizer, "mse")
    return fit(model)[0]


def agc_model(steps):
    model = dense_model(keras_nfnets.AGCModel)
    model.compile(adam(steps), "mse", agc=AGC_SETTINGS)
    return fit(model)[0]


def own_step(steps):
    model = dense_model(step_of_ones_own(keras_nfnets.AGCModel))
    model.compile(adam(steps), "mse", agc=AGC_SETTINGS)
    return fit(model)[0]


def clip_in_a_loop(steps):
    """What Keras accumulates, a loop that clips has to accumulate itself."""
    model = dense_model()

    def clip(gradients, variables):
        return AGC_SETTINGS.clip(gradients, variables, model)

    loop(model, adam(), clip, 5, steps or 1)
    return model.get_weights()


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.long
@pytest.mark.parametrize(
    "policy, steps", [("float32", 2), ("mixed_float16", None)]
)
def test_every_way_is_the_same_training_bit_for_bit(policy, steps):
    keras.config.set_dtype_policy(policy)
    expected = plain_model(steps)
    assert_same(agc_model(steps), expected)
    assert_same(own_step(steps), expected)
    if policy == "float32":
        assert_same(clip_in_a_loop(steps), expected)
    model = dense_model()
    model.compile(adam(steps), "mse")
    unclipped, _ = fit(model)
    assert np.abs(unclipped[0] - expected[0]).max() > 1e-3


def test_training_by_hand_is_the_formula():
    model = dense_model()
    optimizer = with_agc(keras.optimizers.SGD(0.1), AGC_SETTINGS, model)
    loop(model, optimizer, None, 1)
    for found, expected in zip(
        model.get_weights(), by_hand(0.1, 0.3, 1), strict=True
    ):
        # Four steps of float32.
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_loss_scaling_around_and_inside():
    plain, around, inside = [], [], []
    for scaled in (plain, around, inside):
        model = dense_model()
        optimizer = adam()
        if scaled is around:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 2.0**4)
        optimizer = with_agc(optimizer, AGC_SETTINGS, model)
        if scaled is inside:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 2.0**4)
        model.compile(optimizer, "mse")
        scaled += fit(model, 2)[0]
    # A power of two scales without rounding.
    for a, b, c in zip(plain, around, inside, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)
        np.testing.assert_allclose(c, a, atol=1e-6)


@pytest.mark.parametrize("fitted, scale", [(False, False), (True, True)])
def test_saved_and_loaded_it_continues_the_same(tmp_path, fitted, scale):
    model = dense_model()
    optimizer = adam()
    if scale:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(with_agc(optimizer, AGC_SETTINGS, model), "mse")
    if fitted:
        fit(model, 1)
    else:
        model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    assert loaded.optimizer.agc == AGC_SETTINGS
    expected, _ = fit(model, 2)
    assert_same(fit(loaded, 2)[0], expected)
    for a, b in zip(
        model.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


def test_weights_file_holds_the_state(tmp_path):
    models = []
    for _ in range(2):
        model = dense_model()
        model.compile(with_agc(adam(), AGC_SETTINGS, model), "mse")
        model.optimizer.build(model.trainable_variables)
        models.append(model)
    fit(models[0], 1)
    models[0].save_weights(tmp_path / "state.weights.h5")
    models[1].load_weights(tmp_path / "state.weights.h5")
    assert models[1].optimizer.agc_report() == models[0].optimizer.agc_report()
    assert_same(fit(models[1], 1)[0], fit(models[0], 1)[0])


@pytest.mark.parametrize("scale", [False, True])
def test_state_from_before_agc_is_taken_over(tmp_path, scale):
    """Files of older versions have no report among the optimizer's state."""
    models = []
    for clips in (False, True):
        model = dense_model()
        optimizer = adam()
        if scale:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        if clips:
            optimizer = with_agc(optimizer, AGC_SETTINGS, model)
        model.compile(optimizer, "mse")
        model.optimizer.build(model.trainable_variables)
        models.append(model)
    before, after = models
    fit(before, 1)
    before.save_weights(tmp_path / "state.weights.h5")
    after.load_weights(tmp_path / "state.weights.h5")
    pairs = zip(
        before.optimizer.variables, after.optimizer.variables[:-2], strict=True
    )
    for a, b in pairs:
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))
    assert after.optimizer.agc_report() == {"agc_clipped": 0.0}


def test_trained_optimizer_gets_agc():
    model = dense_model()
    model.compile(adam(), "mse")
    fit(model, 1)
    momentum = to_numpy(model.optimizer.variables[2])
    optimizer = with_agc(model.optimizer, AGC_SETTINGS, model)
    np.testing.assert_array_equal(to_numpy(optimizer.variables[2]), momentum)
    model.compile(optimizer, "mse")
    fit(model, 1)
    assert 0 < optimizer.agc_report()["agc_clipped"] < 1


def test_configuration_is_the_optimizers_own():
    optimizer = with_agc(
        keras_nfnets.optimizers.SGD(
            keras_nfnets.optimizers.WarmupCosine(0.4, 2, 10), l2=1e-3
        ),
        AGC(0.02, exclude=["bias"], unit="tensor", detailed=True),
    )
    assert isinstance(optimizer, keras_nfnets.optimizers.SGD)
    config = keras.optimizers.serialize(optimizer)
    copy = keras.optimizers.deserialize(config)
    assert type(copy) is type(optimizer)
    assert copy.get_config() == optimizer.get_config()
    assert copy.agc == optimizer.agc and copy.l2 == 1e-3


def test_without_a_model_units_go_by_rank():
    kernel = keras.Variable(np.ones((2, 3), "float32"), name="kernel")
    optimizer = with_agc(keras.optimizers.SGD(1.0), AGC(0.1))
    optimizer.build([kernel])
    gradient = np.array([[3.0, 0.0, 0.01], [4.0, 0.0, 0.01]], "float32")
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    limit = 0.1 * np.sqrt(2)
    expected = 1 - gradient * [[limit / 5, 1, 1]]
    np.testing.assert_allclose(to_numpy(kernel), expected, rtol=1e-6)
    assert optimizer.agc_report() == {"agc_clipped": pytest.approx(1 / 3)}
    optimizer.reset_agc_report()
    assert optimizer.agc_report() == {"agc_clipped": 0.0}


def test_model_may_be_built_later():
    model = keras.Sequential([keras.layers.Dense(6), keras.layers.Dense(3)])
    optimizer = with_agc(adam(), AGC_SETTINGS, model)
    assert optimizer.agc_report() == {}
    model.compile(optimizer, "mse")
    fit(model, 1)
    clipped = [unit is not None for unit in optimizer.rules.units]
    assert clipped == [True, True, False, True]  # the classifier's kernel


# Keras warns, or not, by the backend.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_unfrozen_layers_are_clipped():
    model = dense_model()
    model.layers[1].trainable = False
    optimizer = with_agc(keras.optimizers.SGD(0.1), AGC_SETTINGS, model)
    model.compile(optimizer, "mse")
    model.layers[1].trainable = True
    fit(model, 1)
    for found, expected in zip(
        model.get_weights(), by_hand(0.1, 0.3, 1), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="others have no slices")
@pytest.mark.parametrize("scale", [False, True])
def test_sparse_gradients_stay_sparse_where_nothing_clips(scale):
    import tensorflow as tf

    table = keras.Variable(np.ones((4, 2)), name="table")
    seen = []

    class Seeing(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            seen.append(type(gradient))
            super().update_step(gradient, variable, learning_rate)

    optimizer = Seeing(1.0)
    if scale:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 1.0)
    with_agc(optimizer, AGC(exclude=["table"]))
    gradient = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2]), (4, 2))
    optimizer.apply([gradient], [table])
    assert seen == [tf.IndexedSlices]
    np.testing.assert_array_equal(to_numpy(table)[:, 0], [1, 1, 0, 1])


def test_two_optimizers_of_a_gan():
    models, optimizers = [], []
    for clipping in (1e-5, 0.3):
        model = dense_model()
        optimizers.append(with_agc(adam(), AGC(clipping), model))
        models.append(model)
    for model, optimizer in zip(models, optimizers, strict=True):
        loop(model, optimizer, None, 1)
    shares = [o.agc_report()["agc_clipped"] for o in optimizers]
    assert shares[0] == 1.0 and 0 < shares[1] < 1


def test_bad_input_is_refused():
    model = dense_model()
    twice = with_agc("adam", AGC_SETTINGS, model)
    for optimizer in (twice, keras.optimizers.LossScaleOptimizer(twice)):
        with pytest.raises(ValueError, match="must not have AGC already"):
            with_agc(optimizer)
    with pytest.raises(ValueError, match="`agc` must be an instance"):
        with_agc("adam", 0.01)
    with pytest.raises(ValueError, match="`optimizer` must be one"):
        with_agc(None)
    with pytest.raises(ValueError, match="`exclude` must match"):
        with_agc("adam", AGC(exclude=["to[q]"]), model)
    with pytest.raises(ValueError, match="`exclude` must match"):
        with_agc("adam", AGC(exclude=["to[q]"])).build(model.weights)
    other = with_agc("adam", AGC(), keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match="`model` must be built, and hold"):
        other.build(model.trainable_variables)


def test_clip_looks_up_the_units_of_the_model():
    model = dense_model()
    gradients = gradients_of(model)
    known = model.trainable_variables
    clipped = AGC_SETTINGS.clip(gradients, known, model)
    values = [v.value for v in known]
    for again, other in zip(
        AGC_SETTINGS.clip(gradients, values, model), clipped, strict=True
    ):
        np.testing.assert_array_equal(to_numpy(again), to_numpy(other))
    changed = [
        (to_numpy(g) != to_numpy(c)).any()
        for g, c in zip(gradients, clipped, strict=True)
    ]
    assert changed[0] and not changed[2]  # the classifier's kernel
    assert (
        to_numpy(AGC_SETTINGS.clip(gradients, known)[2])
        != to_numpy(gradients[2])
    ).any()
    assert AGC_SETTINGS.clip([None, *gradients[1:]], known, model)[0] is None
    with pytest.raises(ValueError, match="same length"):
        AGC_SETTINGS.clip(gradients[:1], known)
    unbuilt = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`model` must be built"):
        AGC_SETTINGS.clip(gradients, known, unbuilt)
