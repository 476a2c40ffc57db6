"""Applies the operations of RandAugment that an image has drawn."""

from keras_nfnets.data.operations import OPERATIONS, Draw

# A draw decides the operation, its sign, and x and y of the cutout.
NUMBERS_PER_DRAW = 4


def randaugment(magnitude, corrected=False):
    """Returns a function that applies RandAugment to an image.

    An image goes through several of the sixteen operations, each drawn with the
    same probability. Only the drawn operations are computed, each at the full
    strength of the magnitude. Rotation, shear and translation go either way
    half of the time. `distort` says what each operation does.

    `keras.layers.RandAugment` differs: it has eleven operations, without
    cutout, inversion and solarize-add, draws them once for a whole batch, and
    its factor of 0.5 rotates by up to 180 degrees.

    Args:
        magnitude: Number, see `distort`.
        corrected: Boolean, see `distort`. Defaults to `False`.

    Returns:
        A function `(image, draws) -> image` of a uint8 array `(height, width,
        channels)` and a list of lists of 4 numbers in [0, 1).

    Example:

    >>> augment = randaugment(magnitude=5)
    >>> image = augment(image, np.random.rand(4, 4).tolist())

    Reference: [Cubuk et al., 2019](https://arxiv.org/abs/1909.13719)
    """
    operations = list(OPERATIONS.values())

    def augment(image, draws):
        """Applies one operation after the other, in the order of the draws."""
        for operation, sign, x, y in draws:
            draw = Draw(magnitude, 1 if sign < 0.5 else -1, corrected, (x, y))
            image = operations[int(operation * len(operations))](image, draw)
        return image

    return augment
