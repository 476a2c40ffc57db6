"""Images that cannot be read: named, left out, and never in the way.

The place of such an image in its batch goes to the next one that can be read.
So every other image keeps its place, and a run that goes on at some step sees
what it would have seen. Where all images are good this costs one comparison
of their numbers.
"""

import itertools
import logging

from keras_nfnets.checks import printable
from keras_nfnets.data.order import shuffled
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import Streamed

log = logging.getLogger("keras_nfnets")


def fill_gaps(batches, source, seed, first, step):
    """Puts an image in the place of those that are missing before it.

    Args:
        batches: `tf.data.Dataset` of numbers and images in order, without
            end, both in batches of one size.
        source: `Source`, whose `skipped` takes the names.
        seed: Integer, of the order of training images, or `None` for test
            images.
        first: Integer, the number of the first image.
        step: Integer, from one number to the next.

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
            for missing in range(before + step, number, step):
                _note(source, seed, missing)

    def repeated(numbers, images):
        tf.numpy_function(name_missing, [numbers], [])
        copies = (numbers[1:] - numbers[:-1]) // step
        which = tf.repeat(tf.range(size), copies)
        is_copy = tf.concat([which[1:] == which[:-1], [False]], 0)
        images = tf.nest.map_structure(lambda x: tf.gather(x, which), images)
        return images, is_copy

    def fill(before, batch):
        numbers, images = batch
        numbers = tf.concat([[before], numbers], 0)
        filled = tf.cond(
            numbers[-1] == before + size * step,
            lambda: (images, tf.zeros(size, tf.bool)),
            lambda: repeated(numbers, images),
        )
        return numbers[-1], filled

    before = tf.constant(first - step, tf.int64)
    return batches.scan(before, fill).rebatch(size, drop_remainder=True)


def _note(source, seed, number):
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
