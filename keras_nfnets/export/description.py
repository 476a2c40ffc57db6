"""Defines the description that stands beside an exported classifier.

A file of a network knows neither the names of its classes nor how an image file
becomes its input. A JSON file beside it holds both.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import MAX_PIXELS, check_positive_integer
from keras_nfnets.data.crop import Crop
from keras_nfnets.files import replacing


@dataclasses.dataclass(frozen=True)
class Description:
    """Describes how an exported classifier is used on image files.

    Args:
        class_names: Sequence of strings, in the order of the outputs.
        crop: `keras_nfnets.data.crop.Crop`, which part of an image the network
            sees.
        channels: Integer, `1` or `3`. Defaults to `3`.
        max_pixels: Integer, the most pixels that an image file may have.
            Defaults to `MAX_PIXELS`.

    Example:

    >>> crop = keras_nfnets.data.Crop(64, 64)
    >>> description = keras_nfnets.export.Description(["cat", "dog"], crop)
    >>> description.write("pets.onnx")
    >>> keras_nfnets.export.Description.read("pets.onnx").class_names
    ['cat', 'dog']
    """

    class_names: Sequence[str]
    crop: Crop
    channels: int = 3
    max_pixels: int = MAX_PIXELS

    @staticmethod
    def beside(path: FilePath) -> Path:
        """Returns the path of the description of a file or folder.

        Args:
            path: String or path of that file or folder.

        Returns:
            A `Path`: the same with `.json` added to the name.
        """
        path = Path(path)
        return path.with_name(f"{path.name}.json")

    def write(self, path: FilePath) -> None:
        """Writes the description beside an exported file or folder.

        Args:
            path: String or path of that file or folder.

        Raises:
            OSError: If the description cannot be written there.
        """
        with replacing(self.beside(path)) as temporary:
            content = json.dumps(dataclasses.asdict(self), indent=2)
            temporary.write_text(content + "\n", "utf-8")

    @classmethod
    def read(cls, path: FilePath) -> "Description":
        """Reads the description from beside an exported file or folder.

        Args:
            path: String or path of that file or folder.

        Returns:
            A `Description`.

        Raises:
            ValueError: If there is none, or it is damaged.
        """
        beside = cls.beside(path)
        try:
            fields = json.loads(beside.read_text("utf-8"))
            _check_fields(fields)
            crop = Crop(**fields["crop"])
            return cls(
                *(fields["class_names"], crop),
                *(fields[key] for key in ("channels", "max_pixels")),
            )
        except OSError as error:
            problem: object = error.strerror or error
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{str(beside)!r} must be the description that `keras-nfnets "
            f"export` writes beside a file. Received: {problem}"
        )


def _check_fields(fields):
    """Raises a ValueError for a value that a classifier cannot work with."""
    names = fields["class_names"]
    texts = isinstance(names, list) and all(isinstance(x, str) for x in names)
    if not texts or not names:
        raise ValueError("`class_names` must be a list of strings")
    if fields["channels"] not in (1, 3):
        raise ValueError(
            f"`channels` must be 1 or 3. Received: {fields['channels']!r}"
        )
    check_positive_integer(max_pixels=fields["max_pixels"])
    if not isinstance(fields["crop"], dict):
        raise ValueError("`crop` must be an object")
    for name in ("squash", "antialias"):
        if not isinstance(fields["crop"].get(name, True), bool):
            raise ValueError(f"`{name}` must be true or false")


def check_names(description, model):
    """Raises a ValueError unless there is a name for each class of a model.

    Args:
        description: `Description`.
        model: A Keras model.
    """
    outputs = model.output_shape
    classifies = isinstance(outputs, tuple) and len(outputs) == 2
    count = outputs[-1] if classifies else None
    if len(description.class_names) != count:
        raise ValueError(
            "`description` must have one name for each class that the model "
            f"returns. Received: {len(description.class_names)} names and "
            f"output_shape={outputs}"
        )
