"""A loss that is not finite ends training."""

import pytest

from keras_nfnets.callbacks import FiniteLoss


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_training(loss):
    callback = FiniteLoss()
    callback.on_epoch_end(0, {"loss": 3.0})
    with pytest.raises(ValueError, match="stay finite.*in epoch 2"):
        callback.on_epoch_end(1, {"loss": loss})
