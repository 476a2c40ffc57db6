"""Decides which part of an image a network sees in a test.

Evaluation, prediction and the SavedModel's signatures come here.
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
    """How an image becomes the square that a network sees in a test.

    It is resized bicubically, and the square in the middle is taken.

    Args:
        size: Integer, side of the square in pixels.
        resized: Integer, what the image is resized to: both sides where it is
            squashed, else the shorter one.
        squash: Boolean, whether the image becomes a square as a whole.
            Defaults to `True`.
        antialias: Boolean. Defaults to `False`.

    Example:

    >>> crop = Crop(size=256, resized=288)
    >>> image = crop.of(keras_nfnets.data.read_image("cat.png", None, 3))
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
        """Returns the crop that a run is evaluated with.

        Args:
            recipe: `Recipe`.
            size: Integer, side of the square. Defaults to `None`, the
                recipe's test size.
        """
        size = recipe.test_size if size is None else size
        check_positive_integer(size=size)
        return cls(size, size + recipe.test_margin)

    @classmethod
    def of_variant(cls, variant: Variant, size: int | None = None) -> "Crop":
        """Returns the crop that a variant's top-1 was measured with.

        Args:
            variant: A `Variant`.
            size: Integer, side of the square. Defaults to `None`, the
                variant's test size.
        """
        size = variant.test_size if size is None else size
        check_positive_integer(size=size)
        share = variant.test_crop
        return cls(
            size,
            size + 32 if share is None else math.floor(size / share),
            variant.test_squash,
            share is not None,
        )

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width to resize to, of integers."""
        if self.squash:
            return self.resized, self.resized
        shorter = min(height, width)
        return self.resized * height // shorter, self.resized * width // shorter

    def of(self, image: Any, max_pixels: int = MAX_PIXELS) -> Any:
        """Returns the square that the network sees, by TensorFlow.

        Args:
            image: Tensor or array `(height, width, channels)` with values in
                [0, 255], of any number type.
            max_pixels: Integer, how many pixels the resized image may have,
                of which a narrow one has many. Defaults to `MAX_PIXELS`.

        Returns:
            A float32 tensor `(size, size, channels)`, which may overshoot
            [0, 255].

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
