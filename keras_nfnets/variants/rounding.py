"""Rounds numbers of channels as the papers and timm do."""

import math


def bottleneck_width(channels, expansion, group_width, divisor=1):
    """Returns a bottleneck's width and its number of groups.

    Args:
        channels: Integer, what the width is a share of.
        expansion: Float, the share.
        group_width: Integer, channels per group, or `None` for one group. The
            width is rounded down to whole groups.
        divisor: Integer, see `make_divisible`. Defaults to `1`.

    Raises:
        ValueError: If there is no room for one group.

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
        divisor: Integer. `1` rounds down, as the papers do; any other to the
            nearest multiple, as timm does. Defaults to `1`.
        smallest_fraction: Float, the result is not below this share of `width`.
            Defaults to `0.9`.

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
    """Returns the kernel size of `EfficientChannelAttention` by default."""
    size = int(abs(math.log2(channels) + 1) / 2)
    return max(3, size if size % 2 else size + 1)
