"""AGC and NFNet work beside keras.applications and KerasHub."""

import keras
import numpy as np
import pytest
from helpers import BACKEND, least_variant, to_numpy

import keras_nfnets
from keras_nfnets import AGC
from keras_nfnets.training.optimizers import with_agc

RNG = np.random.default_rng(0)
X = RNG.uniform(0, 255, size=(8, 32, 32, 3)).astype("float32")
Y = RNG.integers(0, 5, 8)


def assert_trains(model, optimizer):
    """Fits two steps that clip, and move weights by no more than they may."""
    # PyTorch's arrays share the memory of the weights.
    before = [np.array(to_numpy(v)) for v in model.trainable_variables]
    history = model.fit(X, Y, batch_size=4, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert 0 < optimizer.agc_report()["agc_clipped"] <= 1
    after = [to_numpy(v) for v in model.trainable_variables]
    assert all(np.isfinite(value).all() for value in after)
    moved = [(a != b).any() for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.5


@pytest.mark.long
@pytest.mark.skipif(
    BACKEND == "jax", reason="a minute to compile, and no code of its own"
)
def test_resnet_of_keras_applications():
    model = keras.applications.ResNet50(
        weights=None, input_shape=(32, 32, 3), classes=5
    )
    optimizer = with_agc(
        keras.optimizers.SGD(0.1, momentum=0.9), AGC(0.01), model
    )
    # Eagerly: tracing it takes longer than these steps.
    model.compile(
        optimizer, "sparse_categorical_crossentropy", run_eagerly=True
    )
    kernel = np.array(to_numpy(model.get_layer("conv1_conv").kernel))
    assert_trains(model, optimizer)
    change = to_numpy(model.get_layer("conv1_conv").kernel) - kernel
    # Two steps with momentum move a unit by (1 + 1.9) of its limit at most;
    # the norm of its weights grows by a thousandth meanwhile.
    norms = [np.sqrt((a**2).sum((0, 1, 2))) for a in (change, kernel)]
    assert (norms[0] < 2.9 * 0.1 * 0.01 * 1.002 * norms[1]).all()


@pytest.mark.filterwarnings("ignore")  # KerasHub's own, as it is imported
def test_classifier_of_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_nfnets.NFNet(
        least_variant(), include_top=False, input_shape=(32, 32, 3)
    )
    task = keras_hub.models.ImageClassifier(
        backbone=backbone, num_classes=5, preprocessor=None
    )
    optimizer = with_agc(keras.optimizers.SGD(0.1), AGC(0.01), task)
    task.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    assert_trains(task, optimizer)
    assert task.predict(X, verbose=0).shape == (8, 5)
    assert task.backbone is backbone
