"""Writes a file or a folder whole, or not at all.

Everything is written under a temporary name beside its path, `.partial-` and
the name, and moved to the path at the end. An error or a full disk leaves what
was at the path. `replacing` is for one file or folder, and `placing` for
several that belong together.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from keras_nfnets.annotations import FilePath


@contextlib.contextmanager
def replacing(path: FilePath) -> Iterator[Path]:
    """Gives a temporary path that takes the place of `path` on success.

    A file replaces a file and a folder a folder; nothing is left of what was
    not finished.

    Args:
        path: String or path of a file or a folder.

    Yields:
        A `Path` with the same suffix and in the same folder, at which nothing
        is.

    Raises:
        IsADirectoryError: If a file would replace a folder.

    Example:

    >>> with keras_nfnets.files.replacing("model.keras") as temporary:
    ...     model.save(temporary)
    """
    path = Path(path)
    # Keras chooses the format of a file by its suffix, so it stays.
    temporary = path.with_name(f".partial-{path.name}")
    _remove(temporary)
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        _name(error, temporary, path)
        raise
    finally:
        _remove(temporary)


@contextlib.contextmanager
def placing(path: FilePath) -> Iterator[Path]:
    """Gives a path in a temporary folder, whose content moves on success.

    It is for formats of several files that refer to each other by name. All
    that stands beside the path in the temporary folder moves beside `path` and
    replaces what is there; a folder is replaced at `path` alone. Nothing is
    left of what was not finished.

    Args:
        path: String or path of a file or a folder.

    Yields:
        A `Path` with the same name, at which nothing is.

    Raises:
        OSError: If something cannot be written or moved. The error names
            `path`, not the temporary folder.

    Example:

    >>> with keras_nfnets.files.placing("model.xml") as temporary:
    ...     openvino.save_model(model, temporary)
    """
    path = Path(path)
    folder = path.with_name(f".partial-{path.name}")
    _remove(folder)
    try:
        folder.mkdir()
        yield folder / path.name
        # The path itself moves last: where it is, everything is.
        for made in sorted(folder.iterdir(), key=lambda p: p.name == path.name):
            target = path.with_name(made.name)
            if target.is_dir() and target == path:
                shutil.rmtree(target)
            elif made.is_dir():
                target.unlink(missing_ok=True)
            os.replace(made, target)
    except OSError as error:
        _name(error, folder, path)
        raise
    finally:
        _remove(folder)


def _name(error, temporary, path):
    """Has an error name a path, and not the temporary one that nobody knows.

    The error of a full disk may have no name at all.
    """
    inside = str(error.filename).startswith(str(temporary))
    if inside and error.filename2 is not None:  # where it was to move
        error.filename = error.filename2
        del error.filename2  # As None it would be printed.
    elif inside or error.errno == errno.ENOSPC:
        error.filename = str(path)


def _remove(path):
    """Removes a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_is_file(path: FilePath, argument: str) -> None:
    """Raises an error unless a file is at the path, not a folder or a pipe.

    Args:
        path: String or path.
        argument: String, the name of the user's argument.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        ValueError: If there is something else.

    Example:

    >>> keras_nfnets.files.check_is_file("f0.safetensors", "weights")
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"`{argument}` must be a file that is there. "
            f"Received: {argument}={str(path)!r}"
        )
    if not path.is_file():
        raise ValueError(
            f"`{argument}` must be a file, not a folder or another thing. "
            f"Received: {argument}={str(path)!r}"
        )
