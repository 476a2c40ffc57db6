"""The networks as data: one frozen dataclass, one table."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Variant:
    """One normalizer-free network, complete as data.

    The fields that hold a tuple of four have one entry per stage. The defaults
    are those of NFNet-F0
    ([Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 4 and
    Appendix C).

    Args:
        depths: Tuple of integers, blocks per stage.
        widths: Tuple of integers, output channels per stage.
        stem_widths: Tuple of integers, output channels of the stem's four
            convolutions, whose strides are 2, 1, 1 and 2.
        head_width: Integer, output channels of the last 1x1 convolution.
        expansions: Tuple of floats, bottleneck width as a share of the
            block's width.
        group_widths: Tuple of integers, channels per group of the 3x3
            convolutions. Bottlenecks are rounded down to whole groups.
        big_widths: Tuple of booleans. A bottleneck's width follows from the
            block's output channels if true, from its input channels if not.
        two_convs: Boolean, whether a block has two 3x3 convolutions or one.
        kernel_size: Integer, side of the bottleneck's spatial kernels in
            pixels.
        se_ratio: Float, hidden units of squeeze-and-excitation as a share of
            the block's output channels.
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
        alpha: Float, scale of the residual branch. By how much each block
            raises the variance.
        epsilon: Float, floor under `fan_in * variance` in the
            standardization of the weights.
        dropout: Float, rate before the classifier in the published recipe.
        train_size: Integer, side of a training image in pixels.
        test_size: Integer, side of a test image in pixels.

    Example:

    >>> from dataclasses import replace
    >>> small = replace(VARIANTS["nfnet_f0"], depths=(1, 1, 1, 1))
    >>> model = keras_nfnets.NFNet(small, classes=10)
    """

    depths: tuple
    widths: tuple = (256, 512, 1536, 1536)
    stem_widths: tuple = (16, 32, 64, 128)
    head_width: int = 3072
    expansions: tuple = (0.5, 0.5, 0.5, 0.5)
    group_widths: tuple = (128, 128, 128, 128)
    big_widths: tuple = (True, True, True, True)
    two_convs: bool = True
    kernel_size: int = 3
    se_ratio: float = 0.5
    activation: str = "gelu"
    alpha: float = 0.2
    epsilon: float = 1e-4
    dropout: float = 0.2
    train_size: int = 192
    test_size: int = 256


def _rows(base, columns, rows):
    return {
        name: replace(base, **dict(zip(columns, row, strict=True)))
        for name, row in rows.items()
    }


_F = Variant(depths=(1, 2, 6, 3))

# Brock et al., 2021 (arXiv 2102.06171), Table 1 and Appendix C.
VARIANTS = _rows(
    _F,
    ("depths", "dropout", "train_size", "test_size"),
    {
        "nfnet_f0": ((1, 2, 6, 3), 0.2, 192, 256),
        "nfnet_f1": ((2, 4, 12, 6), 0.3, 224, 320),
        "nfnet_f2": ((3, 6, 18, 9), 0.4, 256, 352),
        "nfnet_f3": ((4, 8, 24, 12), 0.4, 320, 416),
        "nfnet_f4": ((5, 10, 30, 15), 0.5, 384, 512),
        "nfnet_f5": ((6, 12, 36, 18), 0.5, 416, 544),
        "nfnet_f6": ((7, 14, 42, 21), 0.5, 448, 576),
        "nfnet_f7": ((8, 16, 48, 24), 0.5, 480, 608),
    },
)

# The wider networks that the paper pre-trains on JFT (Section 5).
VARIANTS |= {
    f"{name}_plus": replace(
        variant,
        widths=(384, 768, 2048, 2048),
        stem_widths=(16, 32, 64, 192),
        head_width=4096,
    )
    for name, variant in VARIANTS.items()
}

# Ours, in no paper: for laptops, tests and the demo. Inputs down to 32 px.
VARIANTS |= _rows(
    Variant(depths=(1, 1, 1, 1), group_widths=(16, 16, 16, 16)),
    (
        "widths",
        "stem_widths",
        "head_width",
        "dropout",
        "train_size",
        "test_size",
    ),
    {
        "nfnet_pico": ((32, 64, 128, 128), (16, 24, 32, 32), 256, 0.1, 32, 32),
    },
)
