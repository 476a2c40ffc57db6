"""Counts parameters and multiply-adds of a network from its row alone.

No layer is built, so large networks are counted as fast as small ones. The
functions below add up what `layers` builds: a new kind of layer needs a line in
both places.
"""

import dataclasses

from keras_nfnets.checks import check_positive_integer
from keras_nfnets.variants.plan import (
    block_arguments,
    check_smallest,
    resolve_variant,
)
from keras_nfnets.variants.rounding import (
    bottleneck_width,
    eca_kernel_size,
    make_divisible,
)
from keras_nfnets.variants.table import Variant


@dataclasses.dataclass
class Cost:
    """Holds the size and the cost of one part of a network.

    Args:
        name: String, such as `"stage2"`.
        blocks: Integer, residual blocks in it.
        size: Integer, side of its output in pixels.
        channels: Integer, channels of its output.
        parameters: Integer, trainable weights. Defaults to `0`.
        multiply_adds: Integer, multiply-adds of the convolutions and dense
            layers for one image. Defaults to `0`.

    Example:

    >>> parts = keras_nfnets.complexity.complexity("nfnet_f0")
    >>> {part.name: part.parameters for part in parts}
    """

    name: str
    blocks: int
    size: int
    channels: int
    parameters: int = 0
    multiply_adds: int = 0

    def stride(self, strides: int) -> None:
        """Shrinks the output as a strided convolution does.

        Args:
            strides: Integer, pixels from one output to the next.
        """
        self.size = -(-self.size // strides)

    def conv(
        self, filters: int, kernel_size: int, channels: int, groups: int = 1
    ) -> None:
        """Adds a `WSConv2D`, which has a bias and a gain per filter.

        Args:
            filters: Integer, output channels.
            kernel_size: Integer, side of the kernel in pixels.
            channels: Integer, input channels.
            groups: Integer, groups of channels. Defaults to `1`.
        """
        kernel = kernel_size**2 * (channels // groups) * filters
        self.parameters += kernel + 2 * filters
        self.multiply_adds += kernel * self.size**2

    def dense(self, units: int, channels: int) -> None:
        """Adds a dense layer with a bias, which runs once per image.

        Args:
            units: Integer, outputs.
            channels: Integer, inputs.
        """
        self.parameters += channels * units + units
        self.multiply_adds += channels * units


def complexity(
    variant: str | Variant,
    size: int | None = None,
    classes: int = 1000,
    channels: int = 3,
) -> list[Cost]:
    """Counts the parameters and multiply-adds of every part of a network.

    Multiply-adds are those of convolutions and dense layers. Weight
    standardization, pooling and activations are not counted, as usual.

    Args:
        variant: String, a key of `VARIANTS`, or a `Variant`.
        size: Integer, side of the image in pixels. Defaults to `None`, the
            variant's test size.
        classes: Integer, number of classes. Defaults to `1000`.
        channels: Integer, channels of the image. Defaults to `3`.

    Returns:
        A list of `Cost`: the stem, every stage, and the head.

    Raises:
        ValueError: If `variant` is unknown, `size` is below 32, or
            `classes` or `channels` is not positive.

    Example:

    >>> parts = keras_nfnets.complexity.complexity("nfnet_f0", size=256)
    >>> sum(part.parameters for part in parts)
    71489284
    >>> sum(part.multiply_adds for part in parts)
    12384198656
    """
    variant, _ = resolve_variant(variant)
    size = variant.test_size if size is None else size
    check_positive_integer(size=size, classes=classes, channels=channels)
    check_smallest(size=size)
    stem = Cost("stem", 0, size, variant.stem_widths[-1])
    for filters, strides in zip(
        variant.stem_widths, variant.stem_strides, strict=True
    ):
        stem.stride(strides)
        stem.conv(filters, variant.stem_kernel_size, channels)
        channels = filters
    if variant.stem_pool:
        stem.stride(2)
    parts = [stem, *_stages(variant, stem.size, channels)]
    last = parts[-1]
    head = Cost("head", 0, last.size, classes)
    if variant.head_width:
        head.conv(variant.head_width, 1, last.channels)
    head.dense(classes, variant.head_width or last.channels)
    head.size = 1
    return [*parts, head]


def _stages(variant, size, channels):
    """Returns the cost of each stage."""
    stages = [
        Cost(f"stage{index + 1}", depth, size, width)
        for index, (depth, width) in enumerate(
            zip(variant.depths, variant.widths, strict=True)
        )
    ]
    blocks = block_arguments(variant)
    for stage in stages:
        stage.size = size
        for _ in range(stage.blocks):
            _add_block(stage, channels, next(blocks))
            channels = stage.channels
        size = stage.size
    return stages


def _add_block(cost, channels, block):
    """Adds the cost of a residual block."""
    filters = block["filters"]
    width, groups = bottleneck_width(
        filters if block["big_width"] else channels,
        block["expansion"],
        block["group_width"],
        block["divisor"],
    )
    cost.conv(width, 1, channels)
    cost.stride(block["strides"])
    for _ in range(2 if block["two_convs"] else 1):
        cost.conv(width, block["kernel_size"], width, groups)
    cost.conv(filters, 1, width)
    if block["strides"] > 1 or channels != filters:
        cost.conv(filters, 1, channels)
    _add_attention(cost, width if block["attention_inside"] else filters, block)
    cost.parameters += block["use_skip_gain"]


def _add_attention(cost, channels, block):
    """Adds the cost of a block's attention."""
    if block["attention"] == "se":
        hidden = make_divisible(
            channels * block["se_ratio"],
            block["divisor"],
            smallest_fraction=0.0,
        )
        cost.dense(hidden, channels)
        cost.dense(channels, hidden)
    if block["attention"] == "eca":
        size = eca_kernel_size(channels)
        cost.parameters += size
        cost.multiply_adds += size * channels
