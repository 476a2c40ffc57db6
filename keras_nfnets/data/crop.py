"""Decides which part of an image a network sees in a test.

Evaluation, prediction and the SavedModel's signatures all use `Crop`, so they
see the same pixels.
"""

import dataclasses
import math
from typing import Any

from keras_nfnets.checks import MAX_PIXELS
from keras_nfnets.data import pixels
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.image_size import Size, as_size, checked_size, sides
from keras_nfnets.recipes.recipe import Recipe
from keras_nfnets.variants.table import Variant


@dataclasses.dataclass(frozen=True)
class Crop:
    """Says how an image becomes what a network sees in a test.

    The image is resized bicubically, and the part in its middle is taken.

    Args:
        size: Integer, side of the part in pixels, or a tuple `(height, width)`.
        resized: Integer or tuple, to which the image is resized: both sides if
            it is squashed, else as much as covers them. At least `size`.
        squash: Boolean, whether the image is resized to that size, whatever its
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

    size: Size
    resized: Size
    squash: bool = True
    antialias: bool = False

    def __post_init__(self) -> None:
        for name in ("size", "resized"):
            value = checked_size(**{name: getattr(self, name)})
            object.__setattr__(self, name, value)
        pairs = zip(sides(self.resized), sides(self.size), strict=True)
        if any(resized < size for resized, size in pairs):
            raise ValueError(
                "`resized` must not be below `size`. Received: "
                f"resized={self.resized} and size={self.size}"
            )

    @classmethod
    def of_recipe(cls, recipe: Recipe, size: Size | None = None) -> "Crop":
        """Returns the crop with which a run is evaluated.

        Args:
            recipe: `Recipe`.
            size: Integer, side of the part in pixels, or a tuple `(height,
                width)`. Defaults to `None`, the recipe's test size.
        """
        size = recipe.test_size if size is None else checked_size(size=size)
        height, width = (side + recipe.test_margin for side in sides(size))
        return cls(size, as_size(height, width))

    @classmethod
    def of_variant(cls, variant: Variant, size: Size | None = None) -> "Crop":
        """Returns the crop with which a variant's published top-1 was measured.

        Args:
            variant: A `Variant`.
            size: Integer, side of the part in pixels, or a tuple `(height,
                width)`. Defaults to `None`, the variant's test size.
        """
        size = variant.test_size if size is None else checked_size(size=size)
        fraction = variant.test_crop
        height, width = (
            side + 32 if fraction is None else math.floor(side / fraction)
            for side in sides(size)
        )
        return cls(
            size,
            as_size(height, width),
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
        down, across = sides(self.resized)
        if self.squash:
            return down, across
        if down * width >= across * height:
            return down, down * width // height
        return across * height // width, across

    def of(self, image: Any, max_pixels: int = MAX_PIXELS) -> Any:
        """Returns the part that the network sees, as a TensorFlow tensor.

        Args:
            image: Tensor or array `(height, width, channels)` with values in
                [0, 255], of any number type.
            max_pixels: Integer, the largest number of pixels of the resized
                image. A very narrow image becomes large. Defaults to
                `MAX_PIXELS`.

        Returns: A float32 tensor `(height, width, channels)`. Bicubic resizing
        may overshoot [0, 255].

        Raises:
            InvalidArgumentError: TensorFlow's, if it would have more pixels.
        """
        tf = tensorflow()
        image = tf.convert_to_tensor(image)
        height, width = sides(self.size)
        target = sides(self.resized)
        if not self.squash:
            target = self._covering(tf.shape(image)[:2], max_pixels)
        bicubic = tf.image.ResizeMethod.BICUBIC
        resized = tf.image.resize(
            image, target, bicubic, antialias=self.antialias
        )
        top, left = (target[0] - height + 1) // 2, (target[1] - width + 1) // 2
        part = resized[top : top + height, left : left + width]
        return tf.ensure_shape(part, (height, width, image.shape[-1]))

    def _covering(self, shape, max_pixels):
        """Returns what `sides` does, in a TensorFlow graph, and checks it."""
        tf = tensorflow()
        shape = tf.cast(shape, tf.int64)
        down, across = tf.unstack(tf.constant(sides(self.resized), tf.int64))
        by_height = down * shape[1] >= across * shape[0]
        shorter = tf.where(by_height, shape[0], shape[1])
        target = tf.where(by_height, down, across) * shape // shorter
        check = pixels.check_size(target, max_pixels, "resized, it ")
        with tf.control_dependencies([check]):
            return tf.cast(target, tf.int32)
