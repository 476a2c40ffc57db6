"""Telling of images that could not be read, and stopping at too many."""

import keras

from keras_nfnets.annotations import Logs
from keras_nfnets.data.sources import Source


class SkippedImages(keras.callbacks.Callback):
    """Says at an epoch's end how many images were left out in it.

    Images are read ahead of the step that sees them; each counts for the epoch
    that it belongs to. Held-out images count once for the whole run.

    Args:
        source: `Source`.
        batch_size: Integer, images in a step of the run.
        share: Float, the largest share of the training images that may be
            left out in one epoch, and of the held-out images. One image always
            may. Defaults to `0.01`.

    Raises:
        ValueError: If more are.

    Example:

    >>> skipped = keras_nfnets.data.SkippedImages(source, 256, share=0.001)
    >>> model.fit(dataset, callbacks=[skipped])
    """

    def __init__(
        self, source: Source, batch_size: int, share: float = 0.01
    ) -> None:
        super().__init__()
        self.source = source
        self.share = share
        steps = source.train_count // batch_size
        self.images_per_epoch = steps * batch_size

    def on_train_batch_begin(
        self, batch: int, logs: Logs | None = None
    ) -> None:
        self._check()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        left_out = self._check()
        lines = {
            "images": left_out.get(epoch, []),
            "held-out images": left_out.get("test", []) if epoch == 0 else [],
        }
        for what, names in lines.items():
            if names:
                print(
                    f"{len(names)} {what} could not be read and were left out"
                )

    def _check(self):
        """Returns the names of what was left out by epoch, and of the test."""
        left_out = {}
        # A copy: the data pipeline's threads add to it.
        for (part, number), name in list(self.source.skipped.items()):
            test = part == "test"
            epoch = "test" if test else number // self.images_per_epoch
            left_out.setdefault(epoch, []).append(name)
        for epoch, names in left_out.items():
            count = (
                self.source.test_count
                if epoch == "test"
                else self.source.train_count
            )
            allowed = max(1, self.share * count)
            if len(names) > allowed:
                raise ValueError(
                    f"No more than {self.share:.3%} of the images may be left "
                    f"out in an epoch, {allowed:g} of {count}. Received: "
                    f"{len(names)} that cannot be read, the last one "
                    f"{names[-1]!r}"
                )
        return left_out
