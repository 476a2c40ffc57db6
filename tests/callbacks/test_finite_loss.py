"""A loss that is not finite ends training."""

import math

import numpy as np
import pytest
from helpers import one_output

from keras_nfnets.callbacks import FiniteLoss


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_training(loss):
    callback = FiniteLoss()
    callback.on_epoch_end(0, {"loss": 3.0})
    with pytest.raises(ValueError, match="stay finite.*in epoch 2"):
        callback.on_epoch_end(1, {"loss": loss})


def test_fit_goes_on_until_its_loss_is_not_finite():
    model = one_output()
    x = np.ones((4, 2))
    history = model.fit(x, x[:, :1], verbose=0, callbacks=[FiniteLoss()])
    assert math.isfinite(history.history["loss"][0])
    model.optimizer.learning_rate = 1e30
    with pytest.raises(ValueError, match="Received: loss=(nan|inf) in epoch"):
        model.fit(x, x[:, :1], epochs=5, verbose=0, callbacks=[FiniteLoss()])
