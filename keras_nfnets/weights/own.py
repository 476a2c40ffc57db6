"""Loading a file of Keras into a model, whole or not at all."""

import contextlib
import warnings
from collections import Counter

from keras_nfnets.weights import keras as keras_files
from keras_nfnets.weights.channels import FIRST_KERNEL, fit_channels, fits
from keras_nfnets.weights.identity import classes_among, hint
from keras_nfnets.weights.staging import all_or_nothing
from keras_nfnets.weights.values import checked

CLASSIFIER = "head/classifier/"


def load(model, path):
    """Reads a weight file of Keras into a model, see `weight_files.load`.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path of a `.weights.h5` or `.keras` file.

    Raises:
        ValueError: If the file is damaged, of another network, or has values
            that are not finite. The model is as it was then.

    Example:

    >>> load(keras_nfnets.NFNet("nfnet_f0"), "f0.weights.h5")
    """
    stored = keras_files.shapes(path)
    classes = classes_among(stored)
    ours = {v.path: tuple(v.shape) for v in model.weights}
    bias = ours.get(f"{CLASSIFIER}bias", (classes,))
    fresh = classes is not None and bias != (classes,)
    fitted = _check_network(path, ours, stored, fresh)
    needed = [
        v
        for v in model.weights
        if not (fresh and v.path.startswith(CLASSIFIER))
    ]
    with all_or_nothing(_all_variables(model), _prepare) as held:
        with (
            keras_files.refusing(path),
            _left_alone(model.get_layer("head").classifier if fresh else None),
        ):
            model.load_weights(path)
            for variable in needed:
                if id(variable) not in held:
                    raise ValueError(f"it has nothing for {variable.path!r}")
    if fresh:
        warn_of_classes(classes)
    if fitted:
        warn_of_channels(model)


def warn_of_classes(classes):
    """Warns that a classifier was not loaded."""
    warnings.warn(
        f"The classifier stays fresh: the file's has {classes} classes and "
        "the model's another number.",
        stacklevel=5,
    )


def warn_of_channels(model):
    """Warns that a first kernel is not what the file has."""
    warnings.warn(
        "The first kernel was fitted: the file's is for images of 3 channels "
        f"and the model's are of {model.input_shape[-1]}.",
        stacklevel=5,
    )


def _all_variables(model):
    """What a file may have values for."""
    optimizer = getattr(model, "optimizer", None)
    return [*model.variables, *getattr(optimizer, "variables", [])]


def _prepare(variable, array):
    shape = tuple(variable.shape)
    if variable.path == FIRST_KERNEL and fits(array.shape, shape):
        kernel = checked(variable.path, array)
        return fit_channels(kernel, shape[2]).astype(variable.dtype)
    return checked(variable.path, array, variable.dtype)


def _check_network(path, ours, stored, fresh):
    """Raises a ValueError if the shapes of a file are of another network.

    Returns:
        Whether the first kernel has to be fitted to other channels.
    """
    without = _parts_without(ours)
    theirs = {n: s for n, s in stored.items() if not n.startswith(without)}
    found = Counter(_shapes(theirs, fresh))
    wanted = Counter(_shapes(ours, fresh))
    extra, missing = found - wanted, wanted - found
    if not extra and not missing:
        return False
    first = ours.get(FIRST_KERNEL, ())
    if list(missing.elements()) == [first]:
        if [fits(shape, first) for shape in extra.elements()] == [True]:
            return True
    raise ValueError(
        "`weights` must be of the same network: the arrays in "
        f"{str(path)!r} have other shapes.{hint(stored)}"
    )


def _parts_without(ours):
    """Returns the starts of the names of what a model does without."""
    parts = (CLASSIFIER, "head/conv/")
    return tuple(p for p in parts if not any(n.startswith(p) for n in ours))


def _shapes(shapes, fresh):
    return (
        shape
        for name, shape in shapes.items()
        if not (fresh and name.startswith(CLASSIFIER))
    )


@contextlib.contextmanager
def _left_alone(layer):
    """While open, Keras's loading leaves the layer's weights as they are."""
    if layer is None:
        yield
        return
    layer.load_own_variables = lambda store: None
    try:
        yield
    finally:
        del layer.load_own_variables
