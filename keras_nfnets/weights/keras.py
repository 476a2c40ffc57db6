"""Reading what a weight file of Keras holds, before any of it is used."""

import io
import zipfile
from pathlib import Path

import h5py

ENDINGS = (".weights.h5", ".keras")


def shapes(path):
    """Reads the shapes of a model's weights in a file that Keras wrote.

    Args:
        path: String or path of a `.weights.h5` or `.keras` file.

    Returns:
        A dictionary from names like `head/classifier/vars/0` to tuples. The
        optimizer's state and random seeds are left out.

    Raises:
        ValueError: If the file is of another kind, or damaged.

    Example:

    >>> shapes = keras_nfnets.weights.keras.shapes("f0.weights.h5")
    >>> shapes["head/conv/vars/0"]
    (1, 1, 1536, 3072)
    """
    try:
        with _opened(Path(path)) as file:
            return _shapes(file["layers"])
    except (zipfile.BadZipFile, KeyError, RuntimeError, EOFError) as error:
        problem = error
    except OSError as error:
        if error.errno is not None:
            raise  # the system's word, such as a missing permission
        problem = error
    raise ValueError(f"{str(path)!r} is not a weight file of Keras: {problem}")


def _opened(path):
    if path.suffix != ".keras":
        # Opened here, since HDF5 does not say why it could not.
        with path.open("rb"):
            return h5py.File(path, "r")
    with zipfile.ZipFile(path) as archive:
        return h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r")


def _shapes(group):
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
            found[name] = item.shape

    group.visititems(visit)
    return found
