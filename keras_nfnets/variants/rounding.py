"""Rounds numbers of channels as the papers and timm do.

`complexity` and the layers both round here, so that a network's cost agrees
with the network.
"""

import math


def bottleneck_width(channels, expansion, group_width, divisor=1):
    """Returns a bottleneck's width and its number of groups.

    Args:
        channels: Integer, channels to which `expansion` refers.
        expansion: Float, the width as a fraction of `channels`. It may be above
            one.
        group_width: Integer, channels per group, or `None` for one group. The
            width is rounded down to whole groups.
        divisor: Integer, see `make_divisible`. Defaults to `1`.

    Returns:
        A tuple of two integers, the width in channels and the number of groups.

    Raises:
        ValueError: If the width is less than one group.

    Example:

    >>> bottleneck_width(512, 0.5, group_width=128)
    (256, 2)
    """
    width = make_divisible(channels * expansion, divisor)
    if group_width is None:
        return width, 1
    if width < group_width:
        raise ValueError(
            "`group_width` must not exceed the bottleneck's width, "
            f"{width} channels. Received: group_width={group_width}, "
            f"channels={channels}, expansion={expansion}"
        )
    groups = width // group_width
    return groups * group_width, groups


def make_divisible(width, divisor=1, smallest_fraction=0.9):
    """Rounds a width to a multiple of the divisor, at least one.

    Args:
        width: Float, channels.
        divisor: Integer. `1` rounds down, as the papers do. Any other divisor
            rounds to the nearest multiple, as timm does. Defaults to `1`.
        smallest_fraction: Float. A result below this fraction of `width` is
            raised by one divisor; a divisor of `1` ignores it. Defaults to
            `0.9`.

    Returns:
        Integer, the rounded width.

    Example:

    >>> make_divisible(36.9), make_divisible(36, 8)
    (36, 40)
    """
    if divisor == 1:
        return max(1, int(width))
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    if rounded < smallest_fraction * width:
        return rounded + divisor
    return rounded


def eca_kernel_size(channels):
    """Returns the default kernel size of `EfficientChannelAttention`.

    It is the odd number near `(log2(channels) + 1) / 2`, and at least 3.

    Args:
        channels: Integer, input channels.

    Example:

    >>> eca_kernel_size(256), eca_kernel_size(1536)
    (5, 5)

    Reference: [Wang et al., 2020](https://arxiv.org/abs/1910.03151), Section
    3.2.3
    """
    size = int(abs(math.log2(channels) + 1) / 2)
    return max(3, size if size % 2 else size + 1)
