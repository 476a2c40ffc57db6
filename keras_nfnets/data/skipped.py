"""Telling of images that could not be read, and stopping at too many."""

import keras


class SkippedImages(keras.callbacks.Callback):
    """Says at an epoch's end how many images were left out in it.

    Args:
        source: `Source`.
        share: Float, the largest share of the training images that may be
            left out in one epoch. Defaults to `0.01`.

    Raises:
        ValueError: If more are.

    Example:

    >>> skipped = keras_nfnets.data.SkippedImages(source, share=0.001)
    >>> model.fit(dataset, callbacks=[skipped])
    """

    def __init__(self, source, share=0.01):
        super().__init__()
        self.source = source
        self.share = share
        self._before = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._before = self.source.skipped.total()

    def on_train_batch_begin(self, batch, logs=None):
        self._check()

    def on_epoch_end(self, epoch, logs=None):
        count = self._check()
        if count:
            print(f"{count} images could not be read and were left out")

    def _check(self):
        count = self.source.skipped.total() - self._before
        allowed = self.share * self.source.train_count
        if count > allowed:
            raise ValueError(
                f"No more than {self.share:.3%} of the images may be left out "
                f"in an epoch, {allowed:g} of {self.source.train_count}. "
                f"Received: {count} that cannot be read, the last one "
                f"{list(self.source.skipped)[-1]!r}"
            )
        return count
