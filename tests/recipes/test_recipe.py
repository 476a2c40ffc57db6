"""A recipe scales, compiles into what its fields say, and refuses bad ones."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers import BACKEND, Reference, least_variant, to_numpy

import keras_nfnets
from keras_nfnets import recipes
from keras_nfnets.recipes import Recipe

IMAGES = 1281167  # of ImageNet's training part


def test_scaled_changes_what_depends_and_nothing_else():
    recipe = recipes.get("nfnet_f1")
    scaled = recipe.scaled(batch_size=256, epochs=90, train_size=112)
    assert scaled == dataclasses.replace(
        recipe,
        batch_size=256,
        learning_rate=0.1,
        epochs=90,
        train_size=112,
        test_size=160,
    )
    assert recipe.scaled() == recipe
    assert recipe.scaled(epochs=4).warmup_epochs == 2


def test_schedule_is_the_papers():
    schedules = Reference("schedules")
    key = "WarmupCosineDecay_published_nfnet"
    kwargs = schedules.meta["schedules"][key]["kwargs"]
    recipe = recipes.get("nfnet_f0")
    arguments = recipe.compile_args(IMAGES / recipe.batch_size)
    schedule = arguments["optimizer"]._learning_rate
    assert schedule.peak == kwargs["max_val"]
    assert schedule.warmup_steps == pytest.approx(kwargs["warmup_steps"])
    assert schedule.total_steps == kwargs["num_steps"]
    steps, values = schedules[f"{key}/steps"], schedules[f"{key}/values"]
    inside = steps <= kwargs["num_steps"]
    found = [float(schedule(int(step))) for step in steps[inside]]
    # float32 keeps seven digits of a cosine near its zero.
    np.testing.assert_allclose(found, values[inside], rtol=1e-5, atol=5e-7)


def test_compile_args_take_in_the_fields():
    recipe = Recipe(
        learning_rate=0.5,
        minimum_learning_rate=0.25,
        warmup_epochs=2,
        epochs=5,
        momentum=0.8,
        nesterov=False,
        l2=1e-3,
        label_smoothing=0.2,
        ema_decay=0.75,
        clipping=0.02,
        epsilon=1e-2,
        agc_exclude=["gain$"],
        sam_rho=0.1,
        sam_fraction=0.5,
    )
    arguments = recipe.compile_args(10)
    optimizer = arguments["optimizer"].get_config()
    schedule = optimizer.pop("learning_rate")["config"]
    assert schedule == dict(
        peak=0.5, warmup_steps=20, total_steps=50, minimum=0.25, start=0.0
    )
    expected = dict(
        momentum=0.8,
        nesterov=False,
        l2=1e-3,
        ema_warmup=True,
        use_ema=True,
        ema_momentum=0.75,
    )
    assert optimizer | expected == optimizer
    assert arguments["loss"].get_config()["label_smoothing"] == 0.2
    assert arguments["agc"] == keras_nfnets.AGC(0.02, 1e-2, ("gain$",))
    assert arguments["sam"] == keras_nfnets.SAM(0.1, 0.5)
    plain = dataclasses.replace(recipe, ema_decay=None, sam_rho=None)
    arguments = plain.compile_args(10)
    assert not arguments["optimizer"].use_ema
    assert arguments["sam"] is None


def test_network_trains_on_mixed_images():
    recipe = recipes.get("nfnet_f1").scaled(4, 2, 32)
    variant = least_variant(group_widths=(8,))
    model = keras_nfnets.NFNet(variant, classes=3, **recipe.model_args())
    assert model.get_layer("head").dropout == 0.3
    # On TensorFlow, two steps take less time than making a graph of them.
    eagerly = BACKEND == "tensorflow"
    model.compile(**recipe.compile_args(1), run_eagerly=eagerly)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 32, 32, 3)).astype("float32")
    labels = rng.dirichlet(np.ones(3), 4)
    before = model.get_weights()[0]
    history = model.fit(images, labels, 4, recipe.epochs, verbose=0).history
    assert {"loss", "accuracy", "agc_clipped"} <= set(history)
    assert np.isfinite(history["loss"]).all()
    assert (model.get_weights()[0] != before).any()


def trained(recipe, cls=keras_nfnets.AGCModel):
    """The metrics and weights of two steps with gradients that AGC clips."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = keras.layers.Dense(8, "relu")(inputs)
    model = cls(inputs, keras.layers.Dense(4, "softmax")(x))
    arguments = recipe.compile_args(1)
    if cls is keras.Model:
        del arguments["agc"], arguments["sam"]
    model.compile(**arguments)
    x = 10 * np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    history = model.fit(x, np.arange(4), epochs=2, verbose=0).history
    return set(history), [to_numpy(v) for v in model.trainable_variables]


def test_regnets_train_without_agc():
    recipe = recipes.get("nf_regnet_b0").scaled(epochs=2)
    names, weights = trained(recipe)
    assert names == {"loss", "accuracy"}
    plain = trained(recipe, keras.Model)[1]
    for weight, other in zip(weights, plain, strict=True):
        np.testing.assert_array_equal(weight, other)
    clipped = trained(dataclasses.replace(recipe, clipping=0.01))[1]
    # Ten times what float32 could make of it.
    assert np.abs(weights[0] - clipped[0]).max() > 1e-5


@pytest.mark.parametrize("name", ["batch_size", "epochs", "train_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "8"])
def test_scaled_refuses(name, value):
    message = f"`{name}` must be a positive integer. Received: {name}={value!r}"
    with pytest.raises(ValueError, match=message):
        recipes.get("nfnet_f0").scaled(**{name: value})


@pytest.mark.parametrize(
    "changes",
    [
        dict(learning_rate=0),
        dict(clipping=0),
        dict(sam_rho=-0.05),
        dict(test_size=0),
        dict(momentum=1.0),
        dict(dropout=float("nan")),
        dict(ema_decay=1.0),
        dict(l2=-1e-5),
        dict(warmup_epochs=360),
        dict(minimum_learning_rate=2.0),
        dict(mixup_fraction=0.75),
        dict(sam_fraction=1.5),
        dict(backbone_multiplier=0),
        dict(backbone_multiplier=2.0),
        dict(crop_area=0.0),
        dict(crop_area=1.5),
        dict(mix_partners="triples"),
        dict(batch_size=15),
        dict(repeats=0),
        dict(repeats=3),
    ],
)
def test_bad_fields_are_refused(changes):
    with pytest.raises(ValueError, match=f"`{next(iter(changes))}`.*Received"):
        Recipe(**changes)


def test_compile_args_refuse_no_steps():
    with pytest.raises(ValueError, match="`steps_per_epoch` must be positive"):
        Recipe().compile_args(0)
    with pytest.raises(ValueError, match="`warmup_steps` must be"):
        Recipe().compile_args(1e-3)
