"""Normalizer-free networks for Keras 3."""

import importlib
import pathlib
import sys
import typing

from keras_nfnets.checks import near_matches

__version__ = "0.1.0"

if typing.TYPE_CHECKING:
    from keras_nfnets.surface import *  # noqa: F403
    from keras_nfnets.surface import __all__ as __all__


def _load():
    """Brings the public names here."""
    surface = importlib.import_module("keras_nfnets.surface")
    names = {name: getattr(surface, name) for name in surface.__all__}
    globals().update(names, __all__=[*names, "__version__"])


def __dir__():
    return sorted(__getattr__("__all__"))


if not typing.TYPE_CHECKING:  # it would make every name a valid one

    def __getattr__(name):
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
    """Whether this process is `keras-nfnets` or `python -m keras_nfnets`."""
    program = (*sys.argv, "")[0]
    return pathlib.PurePath(program).stem == "keras-nfnets" or (
        program == "-m" and " -m keras_nfnets" in " ".join(sys.orig_argv)
    )


# Keras has to know every class that a file may hold, so these come at once.
# Only the command line waits: it answers `--help` without Keras, which takes
# seconds to import.
if not (typing.TYPE_CHECKING or _is_command_line()):
    importlib.import_module("keras_nfnets.registered")
