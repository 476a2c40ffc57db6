"""Defines what one row of the table of networks holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One normalizer-free network, complete as data.

    The fields that hold a tuple have one entry per stage, those of the stem
    one per convolution. The defaults are those of NFNet-F0
    ([Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 4 and
    Appendix C).

    Args:
        depths: Tuple of integers, blocks per stage.
        family: String, `"nfnet"`, `"nf_resnet"` or `"nf_regnet"`, for
            `keras_nfnets.list_models`; nothing is built by it.
        widths: Tuple of integers, output channels per stage.
        strides: Tuple of integers, of each stage's first block.
        stem_widths: Tuple of integers, output channels of the stem's
            convolutions.
        stem_strides: Tuple of integers.
        stem_kernel_size: Integer, side of the stem's kernels in pixels.
        stem_pool: Boolean, whether the stem ends in a max pooling.
        head_width: Integer, output channels of the last 1x1 convolution, or
            `None` for no such convolution.
        expansions: Tuple of floats, bottleneck width as a share of the
            block's width.
        first_expansion: Float, takes the place of the very first block's, or
            `None`.
        group_widths: Tuple of integers, channels per group of the 3x3
            convolutions, or of `None` for one group. Bottlenecks are rounded
            down to whole groups.
        big_widths: Tuple of booleans. A bottleneck's width follows from the
            block's output channels if true, from its input channels if not.
        divisor: Integer, of which bottlenecks and hidden units are rounded to
            multiples; `1` rounds down.
        two_convs: Boolean, whether a block has two 3x3 convolutions or one.
        kernel_size: Integer, side of the bottleneck's spatial kernels in
            pixels.
        attention: String, `"se"`, `"eca"`, or `None`.
        attention_inside: Boolean, whether it stands on the bottleneck.
        se_ratio: Float, hidden units of squeeze-and-excitation as a share of
            its input channels.
        shortcut: String, `"pool"` or `"stride"`, how a shortcut shrinks.
        use_skip_gain: Boolean, whether a branch ends in a learnable scalar.
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
        gamma_in_kernel: Boolean, whether the activation's constant multiplies
            the kernels in place of the activations.
        alpha: Float, scale of the residual branch. By how much each block
            raises the variance.
        padding: String, `"same"` or `"symmetric"`, see `WSConv2D`.
        epsilon: Float, of the standardization of the weights.
        epsilon_rule: String, `"floor"` or `"add"`, see `WSConv2D`.
        classifier_std: Float, standard deviation of the classifier's fresh
            kernel.
        dropout: Float, rate before the classifier in the published recipe.
        train_size: Integer, side of a training image in pixels.
        test_size: Integer, side of a test image in pixels.
        test_crop: Float, that side as a share of the one that an image is
            resized to before it is cropped, or `None` for 32 pixels less.
        test_squash: Boolean, whether that resizing squashes an image to a
            square or keeps its aspect ratio.
        pixel_mean: Tuple of floats, taken from each channel of an image with
            values in [0, 255].
        pixel_std: Tuple of floats, by which each channel is divided then.

    Example:

    >>> from dataclasses import replace
    >>> small = replace(VARIANTS["nfnet_f0"], depths=(1, 1, 1, 1))
    >>> model = keras_nfnets.NFNet(small, classes=10)
    """

    depths: tuple[int, ...]
    family: str = "nfnet"
    widths: tuple[int, ...] = (256, 512, 1536, 1536)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    stem_widths: tuple[int, ...] = (16, 32, 64, 128)
    stem_strides: tuple[int, ...] = (2, 1, 1, 2)
    stem_kernel_size: int = 3
    stem_pool: bool = False
    head_width: int | None = 3072
    expansions: tuple[float, ...] = (0.5, 0.5, 0.5, 0.5)
    first_expansion: float | None = None
    group_widths: tuple[int | None, ...] = (128, 128, 128, 128)
    big_widths: tuple[bool, ...] = (True, True, True, True)
    divisor: int = 1
    two_convs: bool = True
    kernel_size: int = 3
    attention: str | None = "se"
    attention_inside: bool = False
    se_ratio: float = 0.5
    shortcut: str = "pool"
    use_skip_gain: bool = True
    activation: str = "gelu"
    gamma_in_kernel: bool = False
    alpha: float = 0.2
    padding: str = "same"
    epsilon: float = 1e-4
    epsilon_rule: str = "floor"
    classifier_std: float = 0.01
    dropout: float = 0.2
    train_size: int = 192
    test_size: int = 256
    test_crop: float | None = None
    test_squash: bool = True
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)
