"""Weights that others have published: where they are, and fetching them."""

import contextlib
import os
import shutil
import socket
import tempfile
import time
import urllib.error
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_nfnets.weights.files import read, write_arrays

# Of a server's silence, in seconds, after which it is given up.
TIMEOUT = 60
# Of a folder that a killed process may have left, in seconds.
ABANDONED = 24 * 3600


@dataclass(frozen=True)
class Source:
    """A published weight file.

    Args:
        url: String, its address.
        file: String, its name once it is here.
        md5: String, its checksum where that is known, or `None`.

    Example:

    >>> keras_nfnets.published.SOURCES["nfnet_f0"].file
    'F0_haiku.npz'
    """

    url: str
    file: str
    md5: str | None = None


# The addresses stand in the papers' repository; the checksums are those of
# another library that fetches the files (jam).
SOURCES = {
    f"nfnet_f{i}": Source(
        f"https://storage.googleapis.com/dm-nfnets/F{i}_haiku.npz",
        f"F{i}_haiku.npz",
        md5,
    )
    for i, md5 in enumerate(
        (
            "0a41039da1cb43adf47f1b7d86ddfe0f",
            "c9126bbfaf855f9ddb7ff3b902558781",
            "7a018d8d1498020e2f5a8719a1e7f53f",
            "d8e1e78d26db659c486150dbaccbe78a",
            "f5974a7e3388aa81b91a9f1403e759a4",
            "8639e925de951030651ac775b9f915c3",
            "b16cca40ac1ecec2bd5e3273866da0c1",
        )
    )
}
# timm's, by our names and by timm's with the tag of the training.
_TIMM = {
    **{f"dm_nfnet_f{i}": f"dm_nfnet_f{i}.dm_in1k" for i in range(7)},
    "nfnet_l0": "nfnet_l0.ra2_in1k",
    "eca_nfnet_l0": "eca_nfnet_l0.ra2_in1k",
    "eca_nfnet_l1": "eca_nfnet_l1.ra2_in1k",
    "eca_nfnet_l2": "eca_nfnet_l2.ra3_in1k",
    "nf_resnet50_timm": "nf_resnet50.ra2_in1k",
    "nf_regnet_b1_timm": "nf_regnet_b1.ra2_in1k",
    "test_nfnet": "test_nfnet.r160_in1k",
}
SOURCES |= {
    name: Source(
        f"https://huggingface.co/timm/{theirs}/resolve/main/model.safetensors",
        f"{theirs}.safetensors",
    )
    for name, theirs in _TIMM.items()
}


def fetch(variant):
    """Returns the path of a variant's published weights, fetched if needed.

    They are downloaded once, read, and kept as safetensors in the folder
    `keras_nfnets` of Keras's own (`~/.keras`, or `$KERAS_HOME`), from where
    they are read the next time. What is incomplete or another file is not
    kept: it is fetched once more, and then refused.

    Args:
        variant: String, a key of `SOURCES`.

    Returns:
        `pathlib.Path` of a `.safetensors` file with the publisher's names.

    Raises:
        ValueError: If nobody published weights of the variant.
        OSError: If they cannot be fetched, or the folder cannot be written;
            the message says what to put where.

    Example:

    >>> path = keras_nfnets.published.fetch("nfnet_f0")
    """
    if variant not in SOURCES:
        raise ValueError(
            "`weights='imagenet'` must be for a variant with published "
            f"weights: {', '.join(SOURCES)}. Received: variant={variant!r}"
        )
    source, folder = SOURCES[variant], cache_folder()
    cached = folder / f"{variant}.safetensors"
    if not cached.is_file():
        by_hand = folder / source.file
        with _private_folder(folder) as private:
            arrays = read(by_hand) if by_hand.is_file() else None
            arrays = arrays or _download(source, private, by_hand)
            converted = private / cached.name
            write_arrays(arrays, converted)
            os.replace(converted, cached)
    return cached


def cache_folder():
    """Returns the folder where `fetch` keeps weights."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "keras_nfnets"


def _download(source, folder, by_hand):
    for attempt in (1, 2):
        try:
            return read(_get_file(source, folder / str(attempt)))
        except Exception as error:  # Keras raises bare ones
            problem = error
            if isinstance(error.__context__, urllib.error.HTTPError):
                error.__context__.close()  # its connection
            if not _may_pass(error):
                break
    raise ConnectionError(
        f"{source.url} could not be fetched: {problem}. Where there is no "
        f"network, put the file at {str(by_hand)!r} by other means, or pass "
        "its path as `weights`"
    ) from problem


def _may_pass(error):
    """Whether it is worth trying again: the connection broke, or lied."""
    causes = (error, error.__context__)
    broken = (urllib.error.ContentTooShortError, ConnectionError, TimeoutError)
    refused = isinstance(error, ValueError)
    return refused or any(isinstance(cause, broken) for cause in causes)


def _get_file(source, folder):
    # `urlretrieve`, under Keras's function, takes no timeout of its own.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        folder.mkdir()
        return keras.utils.get_file(
            source.file,
            source.url,
            file_hash=source.md5,
            hash_algorithm="md5",
            cache_dir=folder,
            cache_subdir="",
        )
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _private_folder(folder):
    """Gives a folder of this process alone, where half a file harms nobody."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".partial-*"):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
        private = tempfile.TemporaryDirectory(prefix=".partial-", dir=folder)
    except OSError as error:
        raise OSError(
            error.errno,
            f"The folder for published weights cannot be written "
            f"({error.strerror}); set KERAS_HOME to one that can",
            str(folder),
        ) from None
    with private as path:
        yield Path(path)
