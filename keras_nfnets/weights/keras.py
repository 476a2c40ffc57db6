"""Reads and checks weight files and models that Keras wrote.

Keras's own loader trusts a file. `shapes`, `check` and `load_model` look into
it first: it may hold nothing but arrays, and must not unpack to many times its
size.
"""

import contextlib
import io
import warnings
import zipfile
from pathlib import Path

import h5py
import keras

from keras_nfnets.files import check_is_file
from keras_nfnets.weights.hdf5 import datasets, size_of, values_of
from keras_nfnets.weights.values import checked

ENDINGS = (".weights.h5", ".keras")

# The largest ratio of a file's content to the file. Keras does not compress its
# files, and trained weights hardly shrink if another program does. Only a
# crafted file, of zeros for example, expands so much.
MAX_EXPANSION = 100
# Bytes that any file may unpack to, however small it is.
SMALL = 2**24


def shapes(path):
    """Reads the shapes of a model's weights in a file that Keras wrote.

    Args:
        path: String or path of a `.weights.h5` or `.keras` file.

    Returns:
        A dictionary from names like `head/classifier/vars/0` to tuples,
        without the optimizer's state and random seeds.

    Raises:
        ValueError: If the file is of another kind or is damaged.

    Example:

    >>> shapes = keras_nfnets.weights.keras.shapes("f0.weights.h5")
    >>> shapes["head/conv/vars/0"]
    (1, 1, 1536, 3072)
    """
    with refusing(path), _arrays(Path(path)) as arrays:
        found = {
            name.removeprefix("layers/"): item.shape
            for name, item in arrays.items()
            if name.startswith("layers/") and "seed_generator" not in name
        }
        if not found:
            raise ValueError("it has no layers with weights")
        return found


def check(path):
    """Raises a ValueError if a file is damaged or a value is not finite.

    Args:
        path: String or path of a `.weights.h5` or `.keras` file.

    Example:

    >>> check("runs/digits/model.keras")
    """
    with refusing(path), _arrays(Path(path)) as arrays:
        for name, item in arrays.items():
            checked(name, values_of(item))


def load_model(path):
    """Loads a model as `keras.models.load_model` does, and checks the file.

    Args:
        path: String or path of a `.keras` file.

    Returns:
        A Keras model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, a weight is not finite, or Keras
            cannot make a model of it.

    Example:

    >>> model = load_model("runs/digits/model.keras")
    """
    check_is_file(path, "model")
    check(path)
    with refusing(path, "a model of Keras"), warnings.catch_warnings():
        # Keras warns and continues with the state incomplete.
        warnings.filterwarnings("error", "Skipping")
        model = keras.models.load_model(path)
        optimizer = getattr(model, "optimizer", None)
        for variable in model.variables + getattr(optimizer, "variables", []):
            value = keras.ops.convert_to_numpy(variable)
            checked(variable.path, value, value.dtype.name)
        return model


@contextlib.contextmanager
def refusing(path, kind="a weight file of Keras"):
    """Turns the errors that a damaged file causes into one that names it.

    Args:
        path: String or path of the file.
        kind: String, the kind that the file should be of. Defaults to `"a
            weight file of Keras"`.

    Raises:
        ValueError: In place of any error of HDF5, zip or Keras. An error of
            the system, such as a missing permission, is raised as it is.

    Example:

    >>> with refusing("f0.keras"):
    ...     model.load_weights("f0.keras")
    """
    try:
        yield
    # The class of the error depends on where the file is damaged.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{str(path)!r} is not {kind}: {problem[:500]}"
        ) from None


@contextlib.contextmanager
def _arrays(path):
    """Yields the arrays of an open file by their names."""
    with path.open("rb"):
        pass  # Raises the system's error, which HDF5 would hide.
    stored = path.stat().st_size
    content = _unpacked(path, stored) if path.suffix == ".keras" else path
    with h5py.File(content, "r") as file:
        arrays = datasets(file)
        _check_expansion("its arrays", size_of(arrays), stored)
        yield arrays


def _unpacked(path, stored):
    """Returns the weights inside a `.keras` file as a file in memory."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        _check_expansion("what it holds", size, stored)
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged!r} in it is damaged")
        return io.BytesIO(archive.read("model.weights.h5"))


def _check_expansion(what, size, stored):
    """Raises a ValueError for content that is much larger than the file."""
    if size > max(SMALL, MAX_EXPANSION * stored):
        raise ValueError(
            f"{what} would take {size:,} bytes, more than {MAX_EXPANSION} "
            f"times the {stored:,} bytes that are stored"
        )
