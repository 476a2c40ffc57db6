"""Images that cannot be read: named, left out, and never in the way.

The place of such an image in its batch goes to the next one that can be read.
So every other image keeps its place, and a run that goes on at some step sees
what it would have seen. Where all images are good this costs one comparison
of their numbers.
"""

import logging

from keras_nfnets.data.order import shuffled
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import Streamed

log = logging.getLogger("keras_nfnets")


def fill_gaps(decoded, source, seed, first, step):
    """Puts an image in the place of those that are missing before it.

    Args:
        decoded: `tf.data.Dataset` of numbers and images, in order.
        source: `Source`, whose `skipped` takes the names.
        seed: Integer, of the order of training images, or `None` for test
            images.
        first: Integer, the number of the first image.
        step: Integer, from one number to the next.

    Returns:
        A `tf.data.Dataset` of images, and whether each fills a gap.
    """
    tf = tensorflow()

    def name_missing(before, number):
        for missing in range(before + step, number, step):
            _note(source, seed, missing)
        return number

    def count(before, element):
        number, image = element
        gap = (number - before) // step - 1
        number = tf.cond(
            gap > 0,
            lambda: tf.ensure_shape(
                tf.numpy_function(name_missing, [before, number], tf.int64), ()
            ),
            lambda: number,
        )
        return number, (gap, image)

    def fill(gap, image):
        copies = tf.data.Dataset.range(gap, -1, -1)
        return copies.map(lambda left: (image, left > 0))

    first = tf.constant(first - step, tf.int64)
    return decoded.scan(first, count).flat_map(fill)


def _note(source, seed, number):
    part = source.test if seed is None else source.train
    if isinstance(part, Streamed):
        epoch, index = divmod(int(number), part.count)
        name = f"image {index} of epoch {epoch + 1}"
    else:
        name = part.name(int(shuffled(number, part.count, seed)))
    if name not in source.skipped:
        log.warning("%s cannot be read and is left out", name)
    source.skipped[name] += 1
