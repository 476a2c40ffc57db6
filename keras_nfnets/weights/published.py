"""Fetches published weights and keeps them on disk.

`fetch` downloads a file of `SOURCES`, reads it like any other weight file, and
writes it to the cache as safetensors.
"""

import contextlib
import os
import shutil
import socket
import tempfile
import time
import urllib.error
from pathlib import Path

import keras

from keras_nfnets.variants.published import SOURCES as SOURCES
from keras_nfnets.variants.published import Source as Source
from keras_nfnets.weights.files import read, write_arrays

# Seconds without data before the download fails.
TIMEOUT = 60
# Seconds after which a folder of a killed process is deleted.
ABANDONED = 24 * 3600


def fetch(variant: str) -> Path:
    """Returns the path of a variant's published weights, fetched if needed.

    The first call downloads the file, checks it and keeps it as safetensors in
    the folder `keras_nfnets` of Keras's folder (`~/.keras` or `$KERAS_HOME`).
    Later calls return that file. A download that is incomplete or damaged is
    tried again once and never kept.

    Args:
        variant: String, a key of `SOURCES`.

    Returns:
        `pathlib.Path` of a `.safetensors` file with the publisher's names.

    Raises:
        ValueError: If nobody published weights of the variant.
        OSError: If the file cannot be fetched or the folder cannot be
            written. The message says which file to put where by hand.

    Example:

    >>> path = keras_nfnets.published.fetch("nfnet_f0")  # doctest: +SKIP
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


def cache_folder() -> Path:
    """Returns the folder where `fetch` keeps weights."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "keras_nfnets"


def _download(source, folder, by_hand):
    """Returns the arrays of a source after at most two attempts."""
    for attempt in (1, 2):
        try:
            return read(_get_file(source, folder / str(attempt)))
        except Exception as error:  # Keras raises a bare `Exception`.
            problem = error
            if isinstance(error.__context__, urllib.error.HTTPError):
                error.__context__.close()  # It holds the connection open.
            if not _is_worth_retrying(error):
                break
    raise ConnectionError(
        f"{source.url} could not be fetched: {problem}. Where there is no "
        f"network, put the file at {str(by_hand)!r} by other means, or pass "
        "its path as `weights`"
    ) from problem


def _is_worth_retrying(error):
    """Tells whether the connection broke or the content was damaged."""
    causes = (error, error.__context__)
    broken = (urllib.error.ContentTooShortError, ConnectionError, TimeoutError)
    refused = isinstance(error, ValueError)
    return refused or any(isinstance(cause, broken) for cause in causes)


def _get_file(source, folder):
    """Downloads a file into a new folder and returns its path."""
    # Keras calls `urlretrieve`, which has no argument for a timeout.
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
    """Yields a temporary folder that no other process uses."""
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
