"""Loads a weight file of Keras into a model, the whole file or nothing.

`load` works in three steps. `_compare` tells from the shapes whether the file
is of this network; `_load_all_or_nothing` lets Keras read it and assigns the
values at the end; `warn` names what was not loaded as it is in the file.
"""

import warnings
from collections import Counter
from dataclasses import dataclass

from keras_nfnets.overriding import overridden
from keras_nfnets.weights import keras as keras_files
from keras_nfnets.weights.channels import FIRST_KERNEL, fit_channels, fits
from keras_nfnets.weights.identity import classes_among, hint
from keras_nfnets.weights.staging import all_or_nothing
from keras_nfnets.weights.values import checked

CLASSIFIER = "head/classifier/"


@dataclass(frozen=True)
class Difference:
    """Says how a file that is loaded differs from the model.

    Args:
        classes: Integer, the classes of a file whose classifier is skipped.
            Defaults to `None`, for a classifier that is loaded or absent.
        fitted: Boolean, whether the first kernel is fitted to the channels of
            the model's images. Defaults to `False`.
    """

    classes: int | None = None
    fitted: bool = False


def load(model, path):
    """Loads a weight file of Keras into a model, see `weight_files.load`.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path of a `.weights.h5` or `.keras` file.

    Raises:
        ValueError: If the file is damaged, of another network, or has values
            that are not finite. The model is then unchanged.

    Example:

    >>> load(keras_nfnets.NFNet("nfnet_f0"), "f0.weights.h5")
    """
    difference = _compare(model, path)
    _load_all_or_nothing(model, path, difference)
    warn(model, difference)


def _compare(model, path):
    """Returns the `Difference` of model and file, or raises a ValueError.

    Keras names the arrays of a file by their layers' order, not by the
    variables' paths. Shapes are therefore compared without names.
    """
    stored = keras_files.shapes(path)
    ours = {v.path: tuple(v.shape) for v in model.weights}
    classes = classes_among(stored)
    if ours.get(f"{CLASSIFIER}bias", (classes,)) == (classes,):
        classes = None
    absent = _parts_absent(ours)
    theirs = {n: s for n, s in stored.items() if not n.startswith(absent)}
    if classes is not None:
        ours, theirs = _without_classifier(ours), _without_classifier(theirs)
    found, wanted = Counter(theirs.values()), Counter(ours.values())
    extra, missing = found - wanted, wanted - found
    if not extra and not missing:
        return Difference(classes)
    first = ours.get(FIRST_KERNEL, ())
    if list(missing.elements()) == [first]:
        if [fits(shape, first) for shape in extra.elements()] == [True]:
            return Difference(classes, fitted=True)
    raise ValueError(
        "`weights` must be of the same network: the arrays in "
        f"{str(path)!r} have other shapes, {_shown(extra)} where the model "
        f"has {_shown(missing)}.{hint(stored)}"
    )


def _shown(shapes):
    """Returns the first of the shapes that only one side has, as text."""
    first = [str(shape) for shape in list(shapes.elements())[:3]]
    rest = shapes.total() - len(first)
    more = [f"{rest} more"] if rest else []
    return ", ".join(first + more) or "none"


def _load_all_or_nothing(model, path, difference):
    """Loads a file with Keras, and assigns the values at the end.

    A classifier with another number of classes is not loaded.
    """
    skipped = []
    needed = model.weights
    if difference.classes is not None:
        classifier = model.get_layer("head").classifier
        skipped = [(classifier, "load_own_variables", lambda store: None)]
        needed = [v for v in needed if not v.path.startswith(CLASSIFIER)]
    with all_or_nothing(_all_variables(model), _prepare) as staged:
        with keras_files.refusing(path), overridden(*skipped):
            model.load_weights(path)
            for variable in needed:
                if id(variable) not in staged:
                    raise ValueError(f"it has nothing for {variable.path!r}")


def warn(model, difference):
    """Warns about what was not loaded as it is in the file.

    Args:
        model: The model that was loaded.
        difference: `Difference`.
    """
    if difference.classes is not None:
        warnings.warn(
            "The classifier stays fresh: the file's has "
            f"{difference.classes} classes and the model's another number.",
            stacklevel=5,
        )
    if difference.fitted:
        warnings.warn(
            "The first kernel was fitted: the file's is for images of 3 "
            f"channels and the model's are of {model.input_shape[-1]}.",
            stacklevel=5,
        )


def _all_variables(model):
    """Returns the variables that a file may have values for."""
    optimizer = getattr(model, "optimizer", None)
    return [*model.variables, *getattr(optimizer, "variables", [])]


def _prepare(variable, array):
    """Returns the checked value of a variable, fitted if it must be."""
    shape = tuple(variable.shape)
    if variable.path == FIRST_KERNEL and fits(array.shape, shape):
        kernel = checked(variable.path, array)
        return fit_channels(kernel, shape[2]).astype(variable.dtype)
    return checked(variable.path, array, variable.dtype)


def _parts_absent(ours):
    """Returns the prefixes of the parts of a head that a model lacks."""
    parts = (CLASSIFIER, "head/conv/")
    return tuple(p for p in parts if not any(n.startswith(p) for n in ours))


def _without_classifier(shapes):
    return {n: s for n, s in shapes.items() if not n.startswith(CLASSIFIER)}
