"""`Throughput` counts the steps after the first call, and their time."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers import BACKEND

from keras_nfnets.callbacks import Throughput, throughput

FIRST, STEP, VALIDATION = 9.0, 0.05, 3.0
X = np.ones((20, 2))


class Slow(keras.callbacks.Callback):
    """A clock by which a call takes its time, and the first one longer."""

    def __init__(self):
        super().__init__()
        self.now, self.calls = 0.0, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.now += STEP if self.calls else FIRST
        self.calls += 1

    def on_test_begin(self, logs=None):
        self.now += VALIDATION


@pytest.fixture
def slow(monkeypatch):
    slow = Slow()
    fake = SimpleNamespace(perf_counter=lambda: slow.now)
    monkeypatch.setattr(throughput, "time", fake)
    return slow


def fit(slow, *callbacks, steps_per_execution=1, x=X, y=X[:, :1], **arguments):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=steps_per_execution)
    arguments = {"batch_size": 4, "epochs": 2} | arguments
    return model.fit(
        x, y, verbose=0, callbacks=[*callbacks, slow], **arguments
    ).history


def test_first_step_and_validation_are_left_out(slow):
    history = fit(slow, Throughput(4), validation_data=(X, X[:, :1]))
    rate = pytest.approx(1 / STEP)
    assert history["steps_per_second"] == [rate, rate]
    rate = pytest.approx(4 / STEP)
    assert history["images_per_second"] == [rate, rate]


def test_without_a_batch_size_only_steps_are_known(slow):
    history = fit(slow, Throughput())
    assert "images_per_second" not in history
    assert len(history["steps_per_second"]) == 2


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it on PyTorch")
def test_several_steps_in_one_execution(slow):
    history = fit(slow, Throughput(), steps_per_execution=2)
    # Five steps are calls of 2, 2 and 1. The first call is left out once.
    assert history["steps_per_second"] == pytest.approx(
        [3 / (2 * STEP), 5 / (3 * STEP)]
    )


# As it ends in the first epoch, Keras learns its length, and warns.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_epoch_of_unknown_length(slow):
    def batches():
        yield from [(X[:4], X[:4, :1])] * 5

    data = dict(x=batches(), y=None, batch_size=None, epochs=1, shuffle=False)
    history = fit(slow, Throughput(), **data)
    # Keras begins no call that finds no batch.
    assert history["steps_per_second"] == [pytest.approx(1 / STEP)]


def test_epoch_of_one_step_has_the_first_call_in(slow):
    history = fit(slow, Throughput(), batch_size=20)
    assert history["steps_per_second"] == pytest.approx([1 / FIRST, 1 / STEP])
