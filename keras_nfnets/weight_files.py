"""Weight files, ours and other people's, by what their names end in."""

import math
import re
import warnings
from pathlib import Path

import safetensors.numpy

from keras_nfnets import haiku_files
from keras_nfnets.complexity import complexity
from keras_nfnets.files import replacing
from keras_nfnets.variants import VARIANTS
from keras_nfnets.weights import assign, collect, haiku_slots, timm_slots

OURS = (".weights.h5", ".keras")
# The classifier's arrays by the papers' names and by timm's.
_CLASSIFIER = r"/~/linear::[wb]$|^head\.fc\."


def load(model, path):
    """Reads a weight file of any known kind into a model.

    A file of the papers or of timm gives a model without its top what that
    has; a classifier with another number of classes is left fresh, with a
    warning.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path of a `.weights.h5`, `.keras`, `.npz` (the
            papers') or `.safetensors` (timm's) file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind, or is not of this
            network; the message says of which it may be.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_f0")
    >>> keras_nfnets.weight_files.load(model, "F0_haiku.npz")
    """
    if str(path).endswith(OURS):
        model.load_weights(path)
    else:
        load_arrays(model, read(path))


def load_arrays(model, arrays):
    """As `load`, from a dictionary of the papers' or timm's arrays."""
    slots = slots_for(model, arrays)
    apart = [name for name in arrays if re.search(_CLASSIFIER, name)]
    fresh = [
        n for n in apart if n in slots and _has_other_classes(n, slots, arrays)
    ]
    for name in fresh:
        del slots[name]
    rest = {n: a for n, a in arrays.items() if n in slots or n not in apart}
    try:
        assign(slots, rest)
    except ValueError as error:
        names = fitting_variants(arrays)
        hint = f" The file may be of: {', '.join(names)}." if names else ""
        raise ValueError(f"{error}.{hint}") from None
    if fresh:
        warnings.warn(
            "The classifier stays fresh: the file's has "
            f"{classes_of(arrays)} classes and the model's another number.",
            stacklevel=2,
        )


def _has_other_classes(name, slots, arrays):
    """Whether an array of the classifier differs in its classes alone."""
    ours, theirs = slots[name].variable.shape, arrays[name]
    if slots[name].shape == theirs.shape:
        return False
    return theirs.size * ours[-1] == math.prod(ours) * classes_of(arrays)


def slots_for(model, arrays):
    """Returns where the arrays of a source belong, by how they are named."""
    first = next(iter(arrays), "")
    if "/~/" in first:
        return haiku_slots(model, root=first.split("/")[0])
    return timm_slots(model)


def read(path):
    """Reads the arrays of a file of the papers (`.npz`) or of timm.

    Args:
        path: String or path of a `.npz` or `.safetensors` file.

    Returns:
        A dictionary from the source's names to NumPy arrays.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another kind, or damaged.

    Example:

    >>> arrays = read("F0_haiku.npz")
    """
    path = Path(path)
    if path.suffix == ".npz":
        return haiku_files.read(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            "`path` must end in .weights.h5, .keras, .npz or .safetensors. "
            f"Received: {str(path)!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}")
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{str(path)!r} is not a safetensors file: {error}"
        ) from None


def write(model, path, root="NFNet"):
    """Writes a model's weights under another source's names.

    What is at the path is replaced once the new file is complete.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path that ends in `.npz` (the papers' format) or
            `.safetensors` (timm's).
        root: String, the network's name in a file of the papers, see
            `haiku_slots`. Defaults to `"NFNet"`.

    Raises:
        ValueError: If the path ends in anything else.

    Example:

    >>> keras_nfnets.weight_files.write(model, "f0.safetensors")
    """
    path = Path(path)
    if path.suffix == ".npz":
        haiku_files.write(path, collect(haiku_slots(model, root)))
    elif path.suffix == ".safetensors":
        with replacing(path) as temporary:
            safetensors.numpy.save_file(collect(timm_slots(model)), temporary)
    else:
        raise ValueError(
            f"`path` must end in .npz or .safetensors. Received: {str(path)!r}"
        )


def fitting_variants(arrays):
    """Returns the names of the variants with as many weights as these."""
    total = sum(array.size for array in arrays.values())
    classes = classes_of(arrays) or 1000
    return [
        name
        for name in VARIANTS
        if total == sum(p.parameters for p in complexity(name, 64, classes))
    ]


def classes_of(arrays):
    """Returns how many classes the source's classifier has, if it has one."""
    for name, array in arrays.items():
        if re.search(_CLASSIFIER, name) and array.ndim == 1:
            return array.size
    return None
