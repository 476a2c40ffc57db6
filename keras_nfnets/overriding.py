"""Replaces methods of single objects for as long as a block runs.

This is the only way in which this package changes what Keras calls. The class
stays as it is, so other models do not notice.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras


@contextlib.contextmanager
def overridden(*methods: tuple[Any, str, Callable[..., Any]]) -> Iterator[None]:
    """Replaces methods of objects while it is open.

    Args:
        *methods: Tuples of an object, the name of its method, and the function
            that replaces it. The function is called without the object.

    Raises:
        RuntimeError: If an object has no method of that name.

    Example:

    >>> with overridden((layer, "load_own_variables", lambda store: None)):
    ...     model.load_weights("all_but_this_layer.weights.h5")
    """
    for owner, name, _ in methods:
        if not hasattr(owner, name):
            # Without the error, what was asked for would not happen.
            raise RuntimeError(
                f"Keras {keras.__version__} has no {name} in "
                f"{type(owner).__name__}, which keras_nfnets would replace."
            )
    try:
        for owner, name, method in methods:
            object.__setattr__(owner, name, method)
        yield
    finally:
        for owner, name, _ in methods:
            owner.__dict__.pop(name, None)
