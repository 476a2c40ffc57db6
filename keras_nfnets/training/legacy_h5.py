"""Recognizes .h5 files, Keras's old format, and refuses what they lose."""

# Where Keras says that it reads or writes such a file; it exports nothing.
from keras.src.backend.common.global_state import get_global_attribute

# Keras compiles a model that it loads from an .h5 file with these arguments.
_FROM_H5 = {"optimizer", "loss", "metrics", "weighted_metrics", "loss_weights"}


def is_in_h5():
    """Whether Keras is reading or writing what an .h5 file holds."""
    return bool(get_global_attribute("use_legacy_config"))


def compiles_from_h5(args, kwargs):
    """Returns whether `compile` was called as Keras does for an .h5 file.

    Args:
        args: Tuple, the positional arguments.
        kwargs: Dictionary, the keyword arguments.
    """
    return not args and set(kwargs) == _FROM_H5


def refuse(lost):
    """Raises a ValueError if a model would come back without something.

    Args:
        lost: Dictionary of settings by their names in `compile`; those that
            are false are not there.
    """
    lost = {name: value for name, value in lost.items() if value}
    if lost:
        raise ValueError(
            "An .h5 file cannot keep AGC or SAM. Save the model as .keras, "
            "or with `include_optimizer=False`. Received: a model that was "
            f"compiled with {lost}"
        )
