"""Prepares images for the published networks, and names their classes."""

import keras
import numpy as np
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.data.crop import Crop
from keras_nfnets.image_size import Size, sides
from keras_nfnets.variants.plan import resolve_variant
from keras_nfnets.variants.table import Variant


def preprocess_input(x: Tensor, variant: str | Variant = "nfnet_f0") -> Tensor:
    """Normalizes images as the published networks expect them.

    Args:
        x: Tensor or array `(..., height, width, 3)` of RGB values in [0, 255].
        variant: String, a key of `VARIANTS`, or a `Variant`. All but
            `"test_nfnet"` expect the same. Defaults to `"nfnet_f0"`.

    Returns:
        A float32 tensor of the same shape: per channel, the variant's
        `pixel_mean` is subtracted and the result divided by its `pixel_std`.

    Raises:
        ValueError: If `variant` is unknown.

    Example:

    >>> y = model(keras_nfnets.preprocess_input(images))
    """
    variant, _ = resolve_variant(variant)
    mean = ops.convert_to_tensor(variant.pixel_mean, "float32")
    std = ops.convert_to_tensor(variant.pixel_std, "float32")
    return (ops.cast(x, "float32") - mean) / std


def evaluation_crop(
    images: Tensor, variant: str | Variant, size: Size | None = None
) -> Tensor:
    """Resizes and crops images as for a variant's published top-1.

    The papers squash an image to a square 32 pixels larger than the crop,
    without antialiasing. timm antialiases, and keeps the aspect ratio for
    most of its networks. Both resize bicubically, which may overshoot
    [0, 255]. Without antialiasing, PyTorch's kernel differs a little from
    those of the other backends.

    Args:
        images: Tensor or array `(..., height, width, channels)` with values
            in [0, 255].
        variant: String, a key of `VARIANTS`, or a `Variant`.
        size: Integer, side of the crop in pixels, or a tuple `(height, width)`.
            Defaults to `None`, the variant's test size.

    Returns:
        A float32 tensor `(..., height, width, channels)`.

    Raises:
        ValueError: If `variant` is unknown or `size` is not positive.

    Example:

    >>> photo = keras_nfnets.data.read_image("cat.png", None, 3)
    >>> x = keras_nfnets.evaluation_crop(photo, "nfnet_f0")
    >>> keras_nfnets.preprocess_input(x[None]).shape
    (1, 256, 256, 3)
    """
    variant, _ = resolve_variant(variant)
    crop = Crop.of_variant(variant, size)
    resized = crop.sides(*images.shape[-3:-1])
    return resize_and_crop(images, resized, crop.size, crop.antialias)


def resize_and_crop(
    images: Tensor,
    resized: tuple[int, int],
    size: Size,
    antialias: bool = False,
) -> Tensor:
    """Resizes images bicubically and returns the part in the middle.

    Args:
        images: Tensor or array `(..., height, width, channels)`.
        resized: Tuple of two integers, the height and width to resize to.
        size: Integer, side of the part in pixels, or a tuple `(height, width)`.
        antialias: Boolean, whether resizing to fewer pixels averages over those
            in between. Defaults to `False`.

    Returns:
        A float32 tensor `(..., height, width, channels)`.

    Example:

    >>> photo = keras_nfnets.data.read_image("cat.png", None, 3)
    >>> x = keras_nfnets.imagenet.resize_and_crop(photo, (288, 288), 256)
    """
    height, width = resized
    images = ops.image.resize(
        ops.cast(images, "float32"),
        resized,
        interpolation="bicubic",
        antialias=antialias,
        data_format="channels_last",
    )
    down, across = sides(size)
    top, left = (height - down + 1) // 2, (width - across + 1) // 2
    return images[..., top : top + down, left : left + across, :]


def decode_predictions(
    y: Tensor, top: int = 5
) -> list[list[tuple[str, str, float]]]:
    """Names the most probable of ImageNet's 1,000 classes.

    Keras downloads its list of names at the first call.

    Args:
        y: Tensor or array `(batch, 1000)` of probabilities.
        top: Integer, how many classes to name. Defaults to `5`.

    Returns:
        A list per image of `top` tuples `(WordNet id, name, probability)`,
        the most probable first.

    Raises:
        ValueError: If `y` has another shape, or `top` is not from 1 to 1000.
        ConnectionError: If the names cannot be fetched. The message says which
            file to put where by hand.

    Example:

    >>> keras_nfnets.decode_predictions(model.predict(x), 1)  # doctest: +SKIP
    [[('n02123045', 'tabby', 0.58)]]
    """
    y = ops.convert_to_numpy(y)
    if y.ndim != 2 or y.shape[1] != 1000:
        raise ValueError(
            f"`y` must have the shape (batch, 1000). Received: shape={y.shape}"
        )
    if not 1 <= top <= 1000:
        raise ValueError(f"`top` must be from 1 to 1000. Received: top={top}")
    try:
        return keras.applications.imagenet_utils.decode_predictions(y, top)
    except Exception as error:  # Keras raises a bare `Exception`.
        raise ConnectionError(
            f"The names of ImageNet's classes could not be fetched: {error}. "
            "Where there is no network, put imagenet_class_index.json into "
            "the folder `models` of Keras's own (~/.keras, or KERAS_HOME)"
        ) from error


def class_names(classes: int = 1000) -> list[str]:
    """Returns the names of ImageNet's classes, in the order of the outputs.

    Args:
        classes: Integer, number of outputs. Defaults to `1000`.

    Returns:
        A list of strings. Where the names cannot be fetched, or for any other
        number than 1000, they are `"class 0"`, `"class 1"` and so on.

    Example:

    >>> keras_nfnets.imagenet.class_names()[281]  # doctest: +SKIP
    'tabby'
    """
    if classes == 1000:
        # Falling probabilities return the names in the order of the classes.
        falling = np.linspace(1.0, 0.0, 1000)[None]
        try:
            (rows,) = decode_predictions(falling, top=1000)
            return [name for _, name, _ in rows]
        except ConnectionError:
            pass
    return [f"class {i}" for i in range(classes)]
