"""Defines how the size of an image is given: one side, or height and width.

A size is an integer for a square, or a tuple `(height, width)`. The functions
read a size from text and from JSON, check it, and split it into its sides.
"""

from collections.abc import Sequence
from typing import Any

from keras_nfnets.checks import check_positive_integer

Size = int | tuple[int, int]


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Returns height and width.

    Args:
        size: Integer, or a sequence of two.

    Example:

    >>> sides(32), sides((128, 512))
    ((32, 32), (128, 512))
    """
    if isinstance(size, list | tuple):
        height, width = size
        return height, width
    return size, size  # type: ignore[return-value]


def as_size(height: int, width: int) -> Size:
    """Returns the size with these sides: an integer if they are equal.

    Args:
        height: Integer, pixels.
        width: Integer, pixels.
    """
    return height if height == width else (height, width)


def checked_size(**arguments: Any) -> Any:
    """Returns a size, with a list made a tuple and a square an integer.

    Args:
        **arguments: One size by the name of its argument.

    Raises:
        ValueError: If it is not a positive integer or two of them.

    Example:

    >>> checked_size(size=[128, 512])
    (128, 512)
    """
    ((name, size),) = arguments.items()
    if not isinstance(size, list | tuple):
        check_positive_integer(**arguments)
        return size
    if len(size) != 2:
        raise ValueError(
            f"`{name}` must be a positive integer or (height, width). "
            f"Received: {name}={size!r}"
        )
    for side in size:
        check_positive_integer(**{name: side})
    return as_size(*size)


def in_proportion(size: Size, new: Size, old: Size) -> Size:
    """Returns a size that changes as another one, side by side.

    Args:
        size: Integer or `(height, width)`.
        new: The other size after the change.
        old: The other size before it.

    Example:

    >>> in_proportion(256, (96, 384), 192)
    (128, 512)
    """
    rows = zip(*map(sides, (size, new, old)), strict=True)
    height, width = (max(1, round(x * to / of)) for x, to, of in rows)
    return as_size(height, width)


def size_from(text: str) -> Size:
    """Returns the size that a text such as `"224"` or `"128x512"` names.

    Args:
        text: String, a number, or height and width with an `x` between.

    Raises:
        ValueError: If it is neither.
    """
    numbers = [int(part) for part in text.lower().split("x")]
    if len(numbers) > 2:
        raise ValueError(
            f"a size must be PIXELS or HEIGHTxWIDTH. Received: {text!r}"
        )
    return numbers[0] if len(numbers) == 1 else as_size(*numbers)


def shown(size: Size) -> str:
    """Returns a size as `size_from` reads it.

    Args:
        size: Integer or `(height, width)`.

    Example:

    >>> shown((128, 512))
    '128x512'
    """
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)
