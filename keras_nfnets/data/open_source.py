"""Opens a source by its name: `digits`, `folder:PATH`, `tfds:NAME`."""

import dataclasses
from collections.abc import Callable

from keras_nfnets.checks import MAX_PIXELS, check_positive_integer, near_matches
from keras_nfnets.data.arrays import digits_source
from keras_nfnets.data.folder import folder
from keras_nfnets.data.records import tfrecord
from keras_nfnets.data.sources import Source
from keras_nfnets.data.tfds import tfds

# The function that opens each kind, called with the text after the colon.
KINDS: dict[str, Callable[..., Source]] = {
    "digits": digits_source,
    "folder": folder,
    "tfds": tfds,
    "tfrecord": tfrecord,
}


def open_source(
    data: str, max_pixels: int = MAX_PIXELS, download: bool = False
) -> Source:
    """Opens a data set by its name on the command line.

    Args:
        data: String: `"digits"`, `"folder:PATH"`, `"tfds:NAME"`,
            `"tfds:NAME:VERSION"` or `"tfrecord:FOLDER"`, see `KINDS`.
        max_pixels: Integer, the largest number of pixels of an image file. A
            larger image is left out. Defaults to `MAX_PIXELS`, 89,478,485.
        download: Boolean, whether a data set of TensorFlow Datasets is
            downloaded and prepared if it is not there. Defaults to `False`.

    Returns:
        A `Source`.

    Raises:
        ValueError: If there is no such kind, or the data cannot be used.
        FileNotFoundError: If the data do not exist.
        ImportError: If the package that reads them is not installed.

    Example:

    >>> source = keras_nfnets.data.open_source("folder:photos")
    """
    kind, colon, rest = data.partition(":")
    takes_rest = kind != "digits"
    if (
        kind not in KINDS
        or takes_rest != bool(rest)
        or takes_rest != bool(colon)
    ):
        raise ValueError(
            "`data` must be digits, folder:PATH, tfds:NAME, tfds:NAME:VERSION "
            f"or tfrecord:FOLDER. {near_matches(kind, KINDS)}"
            f"Received: data={data!r}"
        )
    check_positive_integer(max_pixels=max_pixels)
    if download and kind != "tfds":
        raise ValueError(
            "`download` must be for tfds:NAME, the only kind that can be "
            f"downloaded. Received: data={data!r}"
        )
    if kind == "folder":  # It decodes an image of each class, within the limit.
        return folder(rest, max_pixels=max_pixels)
    options = {"download": download} if kind == "tfds" else {}
    source = KINDS[kind](*([rest] if takes_rest else []), **options)
    return dataclasses.replace(source, max_pixels=max_pixels)
