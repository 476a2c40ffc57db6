"""Refuses what an .h5 file, Keras's old format, cannot keep."""

# Where Keras says that it reads or writes such a file; it exports nothing.
from keras.src.backend.common.global_state import get_global_attribute


def is_in_h5():
    """Whether Keras is reading or writing what an .h5 file holds."""
    return bool(get_global_attribute("use_legacy_config"))


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
