"""Decides which part of an image a network sees in a test.

Evaluation, prediction and the SavedModel's signatures all use `Crop`, so they
see the same pixels.
"""

import dataclasses
import math
from typing import Any

from keras_nfnets.checks import MAX_PIXELS, check_positive_integer
from keras_nfnets.data import pixels
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.recipes.recipe import Recipe
from keras_nfnets.variants.table import Variant


@dataclasses.dataclass(frozen=True)
class Crop:
    """Says how an image becomes the square that a network sees in a test.

    The image is resized bicubically, and the square in its middle is taken.

    Args:
        size: Integer, side of the square in pixels.
        resized: Integer, side in pixels to which the image is resized: both
            sides if it is squashed, else the shorter one. At least `size`.
        squash: Boolean, whether the image is resized to a square, whatever its
            shape. Defaults to `True`.
        antialias: Boolean, whether resizing to fewer pixels averages over those
            in between. Defaults to `False`.

    Raises:
        ValueError: If a side is not a positive integer, or `resized` is below
            `size`.

    Example:

    >>> crop = keras_nfnets.data.Crop(size=256, resized=288)
    >>> image = crop.of(keras_nfnets.data.read_image("cat.png", None, 3))
    >>> image.shape
    TensorShape([256, 256, 3])
    """

    size: int
    resized: int
    squash: bool = True
    antialias: bool = False

    def __post_init__(self) -> None:
        check_positive_integer(size=self.size, resized=self.resized)
        if self.resized < self.size:
            raise ValueError(
                "`resized` must not be below `size`. Received: "
                f"resized={self.resized} and size={self.size}"
            )

    @classmethod
    def of_recipe(cls, recipe: Recipe, size: int | None = None) -> "Crop":
        """Returns the crop with which a run is evaluated.

        Args:
            recipe: `Recipe`.
            size: Integer, side of the square in pixels. Defaults to `None`, the
                recipe's test size.
        """
        size = recipe.test_size if size is None else size
        check_positive_integer(size=size)
        return cls(size, size + recipe.test_margin)

    @classmethod
    def of_variant(cls, variant: Variant, size: int | None = None) -> "Crop":
        """Returns the crop with which a variant's published top-1 was measured.

        Args:
            variant: A `Variant`.
            size: Integer, side of the square in pixels. Defaults to `None`, the
                variant's test size.
        """
        size = variant.test_size if size is None else size
        check_positive_integer(size=size)
        fraction = variant.test_crop
        return cls(
            size,
            size + 32 if fraction is None else math.floor(size / fraction),
            variant.test_squash,
            fraction is not None,
        )

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width to which an image is resized.

        Args:
            height: Integer, pixels of the image.
            width: Integer, pixels of the image.

        Example:

        >>> crop = keras_nfnets.data.Crop(256, resized=288, squash=False)
        >>> crop.sides(400, 300)
        (384, 288)
        """
        if self.squash:
            return self.resized, self.resized
        shorter = min(height, width)
        return self.resized * height // shorter, self.resized * width // shorter

    def of(self, image: Any, max_pixels: int = MAX_PIXELS) -> Any:
        """Returns the square that the network sees, as a TensorFlow tensor.

        Args:
            image: Tensor or array `(height, width, channels)` with values in
                [0, 255], of any number type.
            max_pixels: Integer, the largest number of pixels of the resized
                image. A very narrow image becomes large. Defaults to
                `MAX_PIXELS`.

        Returns: A float32 tensor `(size, size, channels)`. Bicubic resizing may
        overshoot [0, 255].

        Raises:
            InvalidArgumentError: TensorFlow's, if it would have more pixels.
        """
        tf = tensorflow()
        image = tf.convert_to_tensor(image)
        sides = (self.resized, self.resized)
        if not self.squash:
            shape = tf.cast(tf.shape(image)[:2], tf.int64)
            sides = self.resized * shape // tf.reduce_min(shape)
            with tf.control_dependencies(
                [pixels.check_size(sides, max_pixels)]
            ):
                sides = tf.cast(sides, tf.int32)
        bicubic = tf.image.ResizeMethod.BICUBIC
        resized = tf.image.resize(
            image, sides, bicubic, antialias=self.antialias
        )
        top, left = ((sides[i] - self.size + 1) // 2 for i in range(2))
        square = resized[top : top + self.size, left : left + self.size]
        return tf.ensure_shape(square, (self.size, self.size, image.shape[-1]))
