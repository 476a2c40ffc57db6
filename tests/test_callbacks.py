import signal

import keras
import numpy as np
import pytest

from keras_nfnets.callbacks import Checkpoint, History, Interrupt
from keras_nfnets.runs import Run


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.claim()
    return run


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def set_weights(model, value):
    for weight in model.trainable_variables:
        weight.assign(np.full(weight.shape, value))


def weight_in(path):
    return float(keras.models.load_model(path).get_weights()[0][0, 0])


def play(callback, model, values, name="val_accuracy"):
    """Epoch i of a training ends with all weights at i."""
    callback.set_model(model)
    set_weights(model, 0)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        set_weights(model, epoch + 1)
        callback.on_epoch_end(epoch, {name: value})


def test_checkpoint_keeps_best_and_last(run, model):
    play(Checkpoint(run), model, [0.5, 0.9, 0.9, 0.7])
    assert weight_in(run.model) == 2
    assert weight_in(run.last) == 4
    names = sorted(path.name for path in run.path.iterdir())
    assert names == ["last.keras", "model.keras"]


def test_checkpoint_is_there_before_the_first_epoch_ends(run, model):
    play(Checkpoint(run), model, [])
    assert weight_in(run.model) == weight_in(run.last) == 0


def test_checkpoint_knows_the_best_of_the_epochs_before(run, model):
    play(Checkpoint(run), model, [0.5])
    play(Checkpoint(run, best=0.5), model, [0.4, 0.5])
    assert weight_in(run.model) == 1
    assert weight_in(run.last) == 2


def test_checkpoint_unknown_monitor(run, model):
    with pytest.raises(ValueError, match=r"one of \['loss'\].*'val_accuracy'"):
        play(Checkpoint(run), model, [0.5], name="loss")


def test_checkpoint_interrupted_while_saving(run, model, monkeypatch):
    checkpoint = Checkpoint(run)
    play(checkpoint, model, [0.5])

    def save_half(path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save", save_half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.on_epoch_end(1, {"val_accuracy": 0.9})
    assert weight_in(run.model) == weight_in(run.last) == 1
    assert len(list(run.path.iterdir())) == 2


def test_history_in_a_fit(run, model):
    history = History(run)
    x = np.ones((4, 2))
    logs = model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[history])
    rows = run.read_history()
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["loss"] for row in rows] == logs.history["loss"]


def test_history_goes_on_where_a_run_was_stopped(run):
    first = History(run)
    for epoch, loss in enumerate((3.0, 2.0, 1.0)):
        first.on_epoch_end(epoch, {"loss": loss})
    History(run, initial_epoch=2).on_epoch_end(2, {"loss": 0.5})
    assert [row["loss"] for row in run.read_history()] == [3.0, 2.0, 0.5]


def test_history_best(run):
    history = History(run)
    assert history.best("accuracy") == -np.inf
    for epoch, accuracy in enumerate((0.5, 0.75, 0.25)):
        history.on_epoch_end(epoch, {"accuracy": accuracy})
    assert history.best("accuracy") == 0.75


class Swallowing(keras.callbacks.Callback):
    """Gets the signal where Python drops the exception, as in a finalizer."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.steps += 1
        if batch == 1:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def test_interrupt_that_was_dropped_ends_training(model):
    before = signal.getsignal(signal.SIGINT)
    x, swallowing = np.ones((8, 2)), Swallowing()
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        model.fit(
            x,
            x[:, :1],
            batch_size=1,
            verbose=0,
            callbacks=[swallowing, interrupt],
        )
    assert swallowing.steps == 2
    assert signal.getsignal(signal.SIGINT) == before


def test_interrupt_leaves_an_undisturbed_training_alone(model):
    x = np.ones((4, 2))
    with Interrupt() as interrupt:
        model.fit(x, x[:, :1], verbose=0, callbacks=[interrupt])
    assert not interrupt.received
