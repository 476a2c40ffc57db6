"""Normalizer-free networks for Keras 3.

The public names are those of `keras_nfnets.surface.__all__`. They come with the
first one that is asked for, so that the command line starts without Keras. The
import itself loads `keras_nfnets.registered` alone: the classes that Keras must
know to load a saved file.
"""

import importlib
import pathlib
import sys
import typing

from keras_nfnets.checks import near_matches

__version__ = "0.2.0"

if typing.TYPE_CHECKING:
    from keras_nfnets.surface import *  # noqa: F403
    from keras_nfnets.surface import __all__ as __all__


def _load():
    """Makes the names of `surface` attributes of this package."""
    surface = importlib.import_module("keras_nfnets.surface")
    names = {name: getattr(surface, name) for name in surface.__all__}
    globals().update(names, __all__=[*names, "__version__"])


def __dir__():
    """Returns the public names, sorted."""
    return sorted(__getattr__("__all__"))


# A type checker would take every name for a valid one.
if not typing.TYPE_CHECKING:

    def __getattr__(name):
        """Returns a public name, and loads them all at the first one."""
        if name == "__all__" or not name.startswith("__"):
            if "__all__" not in globals():
                _load()
            if name in globals():
                return globals()[name]
        known = globals().get("__all__", ())
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}. "
            f"{near_matches(name, known)}".rstrip()
        )


def _is_command_line():
    """Returns whether this process is the command line, by either name.

    These are `keras-nfnets` and `python -m keras_nfnets`.
    """
    program = (*sys.argv, "")[0]
    return pathlib.PurePath(program).stem == "keras-nfnets" or (
        program == "-m" and " -m keras_nfnets" in " ".join(sys.orig_argv)
    )


# Keras must know every class that a saved file may name, so these are imported
# at once. The command line imports them later: it answers `--help` without
# Keras, which takes seconds to import.
if not (typing.TYPE_CHECKING or _is_command_line()):
    importlib.import_module("keras_nfnets.registered")
