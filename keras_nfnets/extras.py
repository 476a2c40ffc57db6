"""Imports packages that only some uses of this library need."""

import importlib
from typing import Any


def require(module: str, extra: str = "data") -> Any:
    """Imports a package that only some uses of this library need.

    Args:
        module: String, name of the module.
        extra: String, the extra of this library that installs it. Defaults
            to `"data"`.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed; the message says how to.

    Example:

    >>> datasets = keras_nfnets.extras.require("sklearn.datasets")
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{error}. Install what is missing with "
            f"`pip install 'keras-nfnets[{extra}]'`"
        ) from None
