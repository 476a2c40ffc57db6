"""A run writes checkpoints, history and signals between its steps."""

import signal

import keras
import numpy as np
import pytest
from helpers import one_output, set_weights

from keras_nfnets.callbacks import AveragedWeights
from keras_nfnets.runs.callbacks import Checkpoint, History, Signals
from keras_nfnets.runs.checkpoints import Terminated
from keras_nfnets.runs.folder import Run
from keras_nfnets.training.optimizers import SGD


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.claim()
    return run


@pytest.fixture
def model():
    return one_output()


def weight_in(path):
    return float(keras.models.load_model(path).get_weights()[0][0, 0])


def saved(run):
    """The weight in each checkpoint, by its step."""
    return {
        int(path.name.removeprefix("step-")): weight_in(path / "model.keras")
        for path in run.checkpoints.steps()
    }


def play(callback, model, values, name="val_accuracy"):
    """Epoch i, of one step, ends with all weights at i."""
    callback.set_model(model)
    set_weights(model, 0)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        set_weights(model, epoch + 1)
        callback.on_train_batch_begin(0)
        callback.on_epoch_end(epoch, {name: value})


def test_checkpoint_keeps_the_best_and_the_last_two(run, model):
    play(Checkpoint(run, 1), model, [0.5, 0.9, 0.9, 0.7])
    assert weight_in(run.model) == 2
    assert saved(run) == {3: 3, 4: 4}
    names = sorted(path.name for path in run.path.iterdir())
    assert names == ["checkpoints", "model.keras"]


def test_checkpoint_is_there_before_the_first_epoch_ends(run, model):
    play(Checkpoint(run, 1), model, [])
    assert weight_in(run.model) == 0
    assert saved(run) == {0: 0}


def test_checkpoint_knows_the_best_of_the_epochs_before(run, model):
    play(Checkpoint(run, 1), model, [0.5])
    play(Checkpoint(run, 1, step=1, best=0.5), model, [0.4, 0.5])
    assert weight_in(run.model) == 1
    assert saved(run) == {2: 1, 3: 2}


def test_checkpoint_unknown_monitor(run, model):
    with pytest.raises(ValueError, match=r"one of \['loss'\].*'val_accuracy'"):
        play(Checkpoint(run, 1), model, [0.5], name="loss")


def test_checkpoint_interrupted_while_saving(run, model, monkeypatch):
    checkpoint = Checkpoint(run, 1)
    play(checkpoint, model, [0.5])

    def save_half(path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save", save_half)
    for value in (0.9, 0.1):
        with pytest.raises(KeyboardInterrupt):
            checkpoint.on_epoch_end(1, {"val_accuracy": value})
    assert weight_in(run.model) == 1
    assert saved(run) == {0: 0, 1: 1}
    assert len(list(run.path.rglob(".partial*"))) == 0


def test_checkpoint_asked_to_terminate_in_an_epoch(run, model):
    checkpoint = Checkpoint(run, steps_per_epoch=2)
    play(checkpoint, model, [])
    checkpoint.on_train_batch_begin(0)
    checkpoint.terminate = True
    with pytest.raises(Terminated):
        checkpoint.on_train_batch_begin(1)
    assert set(saved(run)) == {0, 1}


def test_checkpoint_asked_to_terminate_lets_an_epoch_be_validated(run, model):
    checkpoint = Checkpoint(run, steps_per_epoch=1)
    play(checkpoint, model, [])
    checkpoint.on_train_batch_begin(0)
    checkpoint.terminate = True
    with pytest.raises(Terminated):
        checkpoint.on_epoch_end(0, {"val_accuracy": 0.5})
    assert set(saved(run)) == {0, 1}


def test_checkpoint_asked_to_terminate_before_the_first_step(run, model):
    checkpoint = Checkpoint(run, steps_per_epoch=2)
    play(checkpoint, model, [])
    checkpoint.terminate = True
    with pytest.raises(Terminated):
        checkpoint.on_train_batch_begin(0)
    assert set(saved(run)) == {0}


def test_best_model_has_the_averages(run, model):
    model.compile(SGD(0.1, use_ema=True), "mse")
    x = np.ones((4, 2))
    model.fit(x, x[:, :1], verbose=0)
    averages = AveragedWeights()
    averages.set_model(model)
    play(Checkpoint(run, 1, averages=averages), model, [0.5])
    (average, _) = model.optimizer._model_variables_moving_average
    average = float(keras.ops.convert_to_numpy(average)[0, 0])
    assert weight_in(run.model) == average != 1
    assert saved(run)[1] == 1


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
    History(run, first.rows[:2]).on_epoch_end(2, {"loss": 0.5})
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


def test_ctrl_c_that_was_dropped_ends_training(run, model):
    before = signal.getsignal(signal.SIGINT)
    x, swallowing = np.ones((8, 2)), Swallowing()
    with pytest.raises(KeyboardInterrupt), Signals(Checkpoint(run, 1)) as ends:
        model.fit(
            x,
            x[:, :1],
            batch_size=1,
            verbose=0,
            callbacks=[swallowing, ends],
        )
    assert swallowing.steps == 2
    assert signal.getsignal(signal.SIGINT) == before


def test_sigterm_reaches_the_checkpoint(run):
    before = signal.getsignal(signal.SIGTERM)
    checkpoint = Checkpoint(run, 1)
    with Signals(checkpoint):
        assert not checkpoint.terminate
        signal.raise_signal(signal.SIGTERM)
        assert checkpoint.terminate
    assert signal.getsignal(signal.SIGTERM) == before


def test_signals_leave_an_undisturbed_training_alone(run, model):
    x = np.ones((4, 2))
    with Signals(Checkpoint(run, 1)) as ends:
        model.fit(x, x[:, :1], verbose=0, callbacks=[ends])
    assert not ends.interrupted and not ends.checkpoint.terminate
