"""Replaces images that cannot be read, names them, and stops at too many.

A missing image leaves a gap between positions. The next readable image fills
the gap, so all other images keep their places in the batches, and a run that
resumes sees what it would have seen. `fill_gaps` costs one comparison for a
batch without gaps. `SkippedImages` reports and limits what was left out.
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
    """Fills the places of missing images with the next readable image.

    Args:
        batches: `tf.data.Dataset` of positions and images in order, without
            end, both in batches of one size.
        source: `Source`, whose `skipped` takes the names.
        seed: Integer, seed of the order of training images, or `None` for test
            images.
        first: Integer, the position of the first image.
        stride: Integer, from one position to the next: the number of hosts.

    Returns:
        A `tf.data.Dataset` of batches of that size: images, and a boolean for
        each image that tells whether it is a copy that fills a gap.
    """
    tf = tensorflow()
    size = batches.element_spec[0].shape[0]

    def name_missing(positions):
        """Records the images between positions that do not follow."""
        # If records are missing, the gap is no image's fault.
        if source.broken:
            return
        for before, position in itertools.pairwise(positions):
            for missing in range(before + stride, position, stride):
                _record_skipped(source, seed, missing)

    def repeated(positions, images):
        """Returns each image as often as its gap and its own place need."""
        tf.numpy_function(name_missing, [positions], [])
        copies = (positions[1:] - positions[:-1]) // stride
        which = tf.repeat(tf.range(size), copies)
        is_copy = tf.concat([which[1:] == which[:-1], [False]], 0)
        images = tf.nest.map_structure(lambda x: tf.gather(x, which), images)
        return images, is_copy

    def fill(before, batch):
        """Fills a batch, and passes its last position on to the next one."""
        positions, images = batch
        positions = tf.concat([[before], positions], 0)
        filled = tf.cond(
            positions[-1] == before + size * stride,
            lambda: (images, tf.zeros(size, tf.bool)),
            lambda: repeated(positions, images),
        )
        return positions[-1], filled

    before = tf.constant(first - stride, tf.int64)
    return batches.scan(before, fill).rebatch(size, drop_remainder=True)


def _record_skipped(source, seed, position):
    """Keeps the name of an image that is left out, and logs it once."""
    kind = "test" if seed is None else "train"
    part = getattr(source, kind)
    if isinstance(part, Streamed):
        epoch, index = divmod(int(position), part.count)
        name = f"image {index} of epoch {epoch + 1}"
    else:
        name = part.name(int(shuffled(position, part.count, seed)))
    if name not in source.skipped.values():
        log.warning("%s cannot be read and is left out", printable(name))
    source.skipped[kind, int(position)] = name


class SkippedImages(keras.callbacks.Callback):
    """Prints at an epoch's end how many images were left out in it.

    Images are read ahead of the step that uses them, but each counts for the
    epoch in which it is used. Held-out images are reported once, at the
    end of the first epoch that leaves any out, also in a run that resumes.

    Args:
        source: `Source`.
        batch_size: Integer, images in a step of the run.
        fraction: Float, the largest fraction of the training images that may be
            left out in one epoch, and of the held-out images. One image is
            always allowed. Defaults to `0.01`.
        images_per_step: Integer, images that are read for a step, see
            `Recipe.images_per_step`. Defaults to `None`, `batch_size`.

    Raises:
        ValueError: Before a step or at the end of an epoch, if more images were
            left out.

    Example:

    >>> skipped = keras_nfnets.data.SkippedImages(source, 16, fraction=0.001)
    >>> dataset = keras_nfnets.data.train_batches(source, recipe)
    >>> steps = dict(steps_per_epoch=4, shuffle=False)
    >>> model.fit(dataset, **steps, callbacks=[skipped])
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        fraction: float = 0.01,
        images_per_step: int | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.fraction = fraction
        steps = source.train_count // batch_size
        self.images_per_epoch = steps * (images_per_step or batch_size)
        self._reported_held_out = False

    def on_train_batch_begin(
        self, batch: int, logs: Logs | None = None
    ) -> None:
        """Raises a ValueError if too many images were left out so far."""
        self._check()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Prints how many images were left out in the epoch."""
        left_out = self._check()
        held_out = left_out.get("test", [])
        lines = {
            "images": left_out.get(epoch, []),
            "held-out images": [] if self._reported_held_out else held_out,
        }
        self._reported_held_out |= bool(held_out)
        for what, names in lines.items():
            if names:
                print(
                    f"{len(names)} {what} could not be read and were left out"
                )

    def _check(self):
        """Returns the names of what was left out, by epoch or `"test"`.

        Raises a ValueError if they are too many.
        """
        left_out = {}
        # `list` copies, since the threads of the pipeline add entries.
        for (part, position), name in list(self.source.skipped.items()):
            test = part == "test"
            epoch = "test" if test else position // self.images_per_epoch
            left_out.setdefault(epoch, []).append(name)
        for epoch, names in left_out.items():
            count = (
                self.source.test_count
                if epoch == "test"
                else self.source.train_count
            )
            allowed = max(1, self.fraction * count)
            if len(names) > allowed:
                raise ValueError(
                    f"No more than {self.fraction:.3%} of the images may be "
                    f"left out in an epoch, {allowed:g} of {count}. Received: "
                    f"{len(names)} that cannot be read, the last one "
                    f"{names[-1]!r}"
                )
        return left_out
