"""Naming what image files show, with a run's model or a published one."""

import functools

import keras

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import MAX_PIXELS, check_whole
from keras_nfnets.data import normalize, read_image
from keras_nfnets.data.crop import Crop
from keras_nfnets.models.imagenet import decode_predictions, preprocess_input
from keras_nfnets.models.nfnet import NFNet
from keras_nfnets.runs.folder import Run
from keras_nfnets.variants.table import VARIANTS
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights.published import fetch


class RunClassifier:
    """The model of a training run, for image files.

    Args:
        run: String or path of the run's folder.
        max_pixels: Integer, how many pixels an image file may have. Defaults
            to `None`, what the run was trained with.

    Raises:
        FileNotFoundError: If it has no model.
        ValueError: If it is not a run's folder, or damaged.

    Example:

    >>> RunClassifier("runs/digits").classify("seven.png")
    ('7', 0.99)
    """

    def __init__(self, run: FilePath, max_pixels: int | None = None) -> None:
        if max_pixels is not None:
            check_whole(max_pixels=max_pixels)
        self.config, self.model = Run(run).load()
        self.max_pixels = max_pixels or self.config["settings"].max_pixels

    def classify(self, path: FilePath) -> tuple[str, float]:
        """Returns the most probable class of an image file, and how probable.

        Args:
            path: String or path of a PNG or JPEG file.

        Raises:
            ValueError: If the file cannot be read.
        """
        mean, std = self.config["mean"], self.config["std"]
        crop = Crop.of_recipe(self.config["settings"].recipe)
        image = read_image(path, None, len(mean), self.max_pixels)
        images = normalize(crop.of(image)[None], mean, std)
        (row,) = self.model.predict_on_batch(images)
        return self.config["class_names"][row.argmax()], float(row.max())


class VariantClassifier:
    """A variant with weights from a file, for image files.

    Images are cropped as the variant's published top-1 was measured.

    Args:
        variant: String, a key of `VARIANTS`.
        weights: String, as for `NFNet`.
        size: Integer, side of the crop in pixels. Defaults to `None`, the
            variant's test size.
        max_pixels: Integer, how many pixels an image file may have. Defaults
            to `None`, `MAX_PIXELS`.

    Raises:
        ValueError: If the file is not of this variant, or has no classifier.

    Example:

    >>> photos = VariantClassifier("nfnet_f0", "F0_haiku.npz")
    >>> photos.classify("cat.jpg")
    ('tabby', 0.58)
    """

    def __init__(
        self,
        variant: str,
        weights: FilePath,
        size: int | None = None,
        max_pixels: int | None = None,
    ) -> None:
        for name, value in dict(size=size, max_pixels=max_pixels).items():
            if value is not None:
                check_whole(**{name: value})
        if weights == "imagenet":
            weights = fetch(variant)
        classes = weight_files.classes_in(weights)
        if classes is None:
            raise ValueError(
                "`weights` must be a file with a classifier. "
                f"Received: weights={str(weights)!r}"
            )
        self.variant = variant
        self.size = size
        self.max_pixels = max_pixels or MAX_PIXELS
        self.model = NFNet(variant, weights=weights, classes=classes)

    def classify(self, path: FilePath) -> tuple[str, float]:
        """Returns the most probable class of an image file, and how probable.

        Its name where it is ImageNet's and the names are at hand; else its
        number.

        Args:
            path: String or path of a PNG or JPEG file.

        Raises:
            ValueError: If the file cannot be read.
        """
        image = read_image(path, None, 3, self.max_pixels)
        crop = Crop.of_variant(VARIANTS[self.variant], self.size)
        image = preprocess_input(crop.of(image).numpy(), self.variant)
        (row,) = self.model.predict_on_batch(image[None])
        if len(row) == 1000 and self._names_are_at_hand:
            (((_, name, probability),),) = decode_predictions(row[None], top=1)
            return name, float(probability)
        return f"class {row.argmax()}", float(row.max())

    @functools.cached_property
    def _names_are_at_hand(self):
        try:
            decode_predictions(keras.ops.zeros((1, 1000)))
        except ConnectionError:
            return False
        return True
