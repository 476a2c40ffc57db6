"""Replaces images that cannot be read, names them, and stops at too many.

The next image that can be read takes the place in the batch. So every other
image keeps its place, and a run that goes on at some step sees what it would
have seen. Where all images are good this costs one comparison of their numbers.
"""

import itertools
import logging

import keras

from keras_nfnets.annotations import Logs
from keras_nfnets.checks import printable
from keras_nfnets.data.order import shuffled
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import Source, Streamed

log = logging.getLogger("keras_nfnets")


def fill_gaps(batches, source, seed, first, stride):
    """Puts an image in the place of those that are missing before it.

    Args:
        batches: `tf.data.Dataset` of numbers and images in order, without
            end, both in batches of one size.
        source: `Source`, whose `skipped` takes the names.
        seed: Integer, of the order of training images, or `None` for test
            images.
        first: Integer, the number of the first image.
        stride: Integer, from one number to the next.

    Returns:
        A `tf.data.Dataset` of batches of that size: images, and whether each
        fills a gap.
    """
    tf = tensorflow()
    size = batches.element_spec[0].shape[0]

    def name_missing(numbers):
        if source.broken:  # no image is to blame, and the run stops
            return
        for before, number in itertools.pairwise(numbers):
            for missing in range(before + stride, number, stride):
                _note(source, seed, missing)

    def repeated(numbers, images):
        tf.numpy_function(name_missing, [numbers], [])
        copies = (numbers[1:] - numbers[:-1]) // stride
        which = tf.repeat(tf.range(size), copies)
        is_copy = tf.concat([which[1:] == which[:-1], [False]], 0)
        images = tf.nest.map_structure(lambda x: tf.gather(x, which), images)
        return images, is_copy

    def fill(before, batch):
        numbers, images = batch
        numbers = tf.concat([[before], numbers], 0)
        filled = tf.cond(
            numbers[-1] == before + size * stride,
            lambda: (images, tf.zeros(size, tf.bool)),
            lambda: repeated(numbers, images),
        )
        return numbers[-1], filled

    before = tf.constant(first - stride, tf.int64)
    return batches.scan(before, fill).rebatch(size, drop_remainder=True)


def _note(source, seed, number):
    """Keeps the name of an image that is left out, and logs it once."""
    kind = "test" if seed is None else "train"
    part = getattr(source, kind)
    if isinstance(part, Streamed):
        epoch, index = divmod(int(number), part.count)
        name = f"image {index} of epoch {epoch + 1}"
    else:
        name = part.name(int(shuffled(number, part.count, seed)))
    if name not in source.skipped.values():
        log.warning("%s cannot be read and is left out", printable(name))
    source.skipped[kind, int(number)] = name


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
        images_per_step: Integer, images that are read for a step, see
            `Recipe.images_per_step`. Defaults to `None`, `batch_size`.

    Raises:
        ValueError: If more are.

    Example:

    >>> skipped = keras_nfnets.data.SkippedImages(source, 256, share=0.001)
    >>> model.fit(dataset, callbacks=[skipped])
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        share: float = 0.01,
        images_per_step: int | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.share = share
        steps = source.train_count // batch_size
        self.images_per_epoch = steps * (images_per_step or batch_size)

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
