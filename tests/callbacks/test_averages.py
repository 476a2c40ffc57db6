"""`AveragedWeights` evaluates the averages and gives the weights back."""

import keras
import numpy as np
import pytest
from helpers import one_output, set_weights

from keras_nfnets.callbacks import AveragedWeights
from keras_nfnets.training.optimizers import SGD


@pytest.fixture
def model():
    return one_output()


def weight_of(model):
    return float(keras.ops.convert_to_numpy(model.weights[0])[0, 0])


def test_averages_are_evaluated_and_weights_kept_to_the_last_digit(model):
    """Keras's own swap loses digits on TensorFlow where the two differ."""
    model.compile(SGD(1 / 3, use_ema=True, ema_momentum=0.9), "mse")
    x = np.ones((4, 2))
    model.fit(x, 1000 * x[:, :1], epochs=3, verbose=0)
    set_weights(model, 1e-5)
    optimizer = model.optimizer
    averages = [
        keras.ops.convert_to_numpy(v)
        for v in optimizer._model_variables_moving_average
    ]
    assert abs(averages[0][0, 0]) > 10

    class Seeing(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.seen = weight_of(self.model)

    seeing = Seeing()
    model.evaluate(
        x, x[:, :1], verbose=0, callbacks=[AveragedWeights(), seeing]
    )
    assert seeing.seen == averages[0][0, 0]
    assert weight_of(model) == np.float32(1e-5)
    for variable, value in zip(
        optimizer._model_variables_moving_average, averages, strict=True
    ):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(variable), value
        )


def test_validation_in_fit_is_of_the_averages(model):
    """A plain `fit`, whose weights are those of one without the callback."""
    x = np.ones((4, 2))
    runs = {}
    for name, callbacks in (("with", [AveragedWeights()]), ("without", [])):
        set_weights(model, 0.5)
        model.compile(SGD(0.1, use_ema=True, ema_momentum=0.9), "mse")
        history = model.fit(
            x,
            3 * x[:, :1],
            epochs=3,
            verbose=0,
            validation_data=(x, 3 * x[:, :1]),
            callbacks=callbacks,
        )
        runs[name] = history.history["val_loss"], weight_of(model)
    assert runs["with"][1] == runs["without"][1]
    averages = model.optimizer._model_variables_moving_average
    kernel, bias = (keras.ops.convert_to_numpy(v) for v in averages)
    expected = (kernel.sum() + bias[0] - 3) ** 2
    # Of a few operations in float32.
    assert runs["with"][0][-1] == pytest.approx(expected, rel=1e-5)
    assert runs["without"][0][-1] < 0.9 * expected
