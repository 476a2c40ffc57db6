"""Checks arguments by rules that several modules share.

Every check takes the arguments by name, such as `check_rate(dropout=0.2)`, and
raises a ValueError with the name, the rule and the value. `near_matches` and
`unknown_name` are for names from a table. `printable` and `complain` are for
text on a terminal.
"""

import difflib
import numbers
import sys
from collections.abc import Iterable
from typing import Any

# The most pixels of an image file: Pillow warns of more. With three channels of
# float32 they take 1 GiB.
MAX_PIXELS = 2**30 // 3 // 4
# The largest integer that TensorFlow's shapes and Keras's counters take.
MAX_INTEGER = 2**31 - 1


def _is_number(value):
    """Returns whether a value is a real number, and not a boolean.

    Text is none: comparing it with a number would raise a TypeError that does
    not name the argument. A boolean is one to Python, but is a mistake where a
    number is asked for.
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_integer(value):
    """Returns whether a value is an integer, and not a boolean."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_positive(**arguments: Any) -> None:
    """Raises an error unless every argument is a finite number above 0.

    Args:
        **arguments: Values by the names of the arguments.

    Raises:
        ValueError: If one is not. The message names the first of them.

    Example:

    >>> check_positive(learning_rate=0.1, clipping=0.01)
    """
    for name, value in arguments.items():
        if not (_is_number(value) and 0 < value < float("inf")):
            raise ValueError(
                f"`{name}` must be positive. Received: {name}={value!r}"
            )


def check_not_negative(**arguments: Any) -> None:
    """Raises an error unless every argument is a number of at least 0.

    Args:
        **arguments: Values by the names of the arguments.

    Raises:
        ValueError: If one is not. The message names the first of them.
    """
    for name, value in arguments.items():
        if not (_is_number(value) and value >= 0):
            raise ValueError(
                f"`{name}` must not be negative. Received: {name}={value!r}"
            )


def check_positive_integer(**arguments: Any) -> None:
    """Raises an error unless every argument is an integer from 1 to 2**31 - 1.

    Args:
        **arguments: Values by the names of the arguments. NumPy's integers are
            integers.

    Raises:
        ValueError: If one is not. The message names the first of them.

    Example:

    >>> check_positive_integer(size=np.int64(224), classes=10)
    """
    for name, value in arguments.items():
        if not _is_integer(value) or int(value) < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. "
                f"Received: {name}={value!r}"
            )
        if int(value) > MAX_INTEGER:
            raise ValueError(
                f"`{name}` must not be above {MAX_INTEGER}. "
                f"Received: {name}={value!r}"
            )


def check_seed(**arguments: Any) -> None:
    """Raises an error unless every argument is a seed that Keras takes.

    Args:
        **arguments: Values by the names of the arguments: integers from 0 to
            2**32 - 1.

    Raises:
        ValueError: If one is not. The message names the first of them.
    """
    for name, value in arguments.items():
        if not _is_integer(value) or not 0 <= int(value) < 2**32:
            raise ValueError(
                f"`{name}` must be from 0 to 2**32 - 1. "
                f"Received: {name}={value!r}"
            )


def check_rate(**arguments: Any) -> None:
    """Raises an error unless every argument is a number in [0, 1).

    Args:
        **arguments: Values by the names of the arguments.

    Raises:
        ValueError: If one is not. The message names the first of them.

    Example:

    >>> check_rate(dropout=0.0, stochastic_depth=0.25)
    """
    for name, value in arguments.items():
        if not (_is_number(value) and 0 <= value < 1):
            raise ValueError(
                f"`{name}` must be in [0, 1). Received: {name}={value!r}"
            )


def near_matches(name: str, names: Iterable[str]) -> str:
    """Returns a question with the known names that look like another one.

    Args:
        name: String, the name that is not known.
        names: Iterable of strings, the known names.

    Returns:
        String, `"Did you mean ...? "` with up to three names, or `""`.

    Example:

    >>> near_matches("NFNet_F0", ["nfnet_f0", "nf_resnet50"])
    "Did you mean 'nfnet_f0'? "
    """
    lower = {known.lower(): known for known in names}
    near = [
        lower[match]
        for match in difflib.get_close_matches(
            str(name).lower(), lower, n=3, cutoff=0.7
        )
    ]
    return f"Did you mean {' or '.join(map(repr, near))}? " if near else ""


def unknown_name(
    argument: str, value: Any, rule: str, names: Iterable[str], place: str
) -> ValueError:
    """Returns the error for a name that a long table does not have.

    The message shows near matches and says what lists the table. It does not
    show the table.

    Args:
        argument: String, the argument that has the name.
        value: The name.
        rule: String, what the name must be.
        names: Iterable of strings, the names of the table.
        place: String, what lists them all.

    Returns:
        A `ValueError`, to be raised.

    Example:

    >>> names = ["nfnet_f0", "nfnet_f1"]
    >>> str(unknown_name("variant", "vgg16", "a network", names, "`list`"))
    "`variant` must be a network. `list` lists all. Received: variant='vgg16'"
    """
    return ValueError(
        f"`{argument}` must be {rule}. {near_matches(value, names)}"
        f"{place} lists all. Received: {argument}={value!r}"
    )


def printable(text: Any) -> str:
    r"""Returns text on one line, as a terminal or a log may show it.

    Control characters are escaped, and so are bytes of a file's name that are
    not UTF-8: `"a\x1b.png"` becomes `r"a\x1b.png"`.

    Args:
        text: String, or path.

    Returns:
        String without control characters or line breaks.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character):
    """Returns the escape of a character that cannot be printed."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def complain(message: str) -> None:
    """Prints a message as one line on the standard error.

    Args:
        message: String. `keras-nfnets: ` is put before it, and any white space
            becomes one space.
    """
    line = printable(" ".join(message.split()))
    print("keras-nfnets:", line, file=sys.stderr)
