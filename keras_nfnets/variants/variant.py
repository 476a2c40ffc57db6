"""Defines the fields of a row in the table of networks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """Describes one normalizer-free network, complete as data.

    Fields that hold a tuple have one entry per stage; those of the stem have
    one per convolution. The defaults are those of NFNet-F0 ([Brock et al.,
    2021](https://arxiv.org/abs/2102.06171), Section 4 and Appendix C).

    Args:
        depths: Tuple of integers, blocks per stage.
        family: String, `"nfnet"`, `"nf_resnet"` or `"nf_regnet"`. Only
            `keras_nfnets.list_models` reads it. Defaults to `"nfnet"`.
        widths: Tuple of integers, output channels per stage. Defaults to
            `(256, 512, 1536, 1536)`.
        strides: Tuple of integers, strides of each stage's first block.
            Defaults to `(1, 2, 2, 2)`.
        stem_widths: Tuple of integers, output channels of the stem's
            convolutions. Defaults to `(16, 32, 64, 128)`.
        stem_strides: Tuple of integers, strides of the stem's convolutions.
            Defaults to `(2, 1, 1, 2)`.
        stem_kernel_size: Integer, side of the stem's kernels in pixels.
            Defaults to `3`.
        stem_pool: Boolean, whether the stem ends in a max pooling of stride 2.
            Defaults to `False`.
        head_width: Integer, output channels of the last 1x1 convolution, or
            `None` for no such convolution. Defaults to `3072`.
        expansions: Tuple of floats, bottleneck width as a fraction of the
            channels that `big_widths` selects. Defaults to `0.5` in each stage.
        first_expansion: Float, the expansion of the network's first block, or
            `None` for that of its stage. Defaults to `None`.
        group_widths: Tuple of integers, channels per group of the 3x3
            convolutions, with `None` for one group. Bottlenecks are rounded
            down to whole groups. Defaults to `128` in each stage.
        big_widths: Tuple of booleans, whether a bottleneck's width follows from
            the block's output channels, or else from its input channels.
            Defaults to `True` in each stage.
        divisor: Integer. Bottlenecks and hidden units are rounded to multiples
            of it; `1` rounds down. Defaults to `1`.
        two_convs: Boolean, whether a block has two spatial convolutions instead
            of one. Defaults to `True`.
        kernel_size: Integer, side of the bottleneck's spatial kernels in
            pixels. Defaults to `3`.
        attention: String, `"se"` (squeeze-and-excitation), `"eca"` (efficient
            channel attention), or `None`. Defaults to `"se"`.
        attention_inside: Boolean, whether attention acts on the bottleneck
            instead of the branch's output. Defaults to `False`.
        se_ratio: Float, hidden units of squeeze-and-excitation as a fraction of
            its input channels. Defaults to `0.5`.
        shortcut: String, how a shortcut shrinks: `"pool"` by average pooling or
            `"stride"` by a strided convolution. Defaults to `"pool"`.
        use_skip_gain: Boolean, whether a branch ends in a learnable scalar.
            Defaults to `True`.
        activation: String, a name in `keras_nfnets.activations.GAMMA`. Defaults
            to `"gelu"`.
        gamma_in_kernel: Boolean, whether the activation's constant `gamma`
            multiplies the kernels in place of the activations. Defaults to
            `False`.
        alpha: Float, scale of the residual branch. Each block raises the
            variance by `alpha ** 2`. Defaults to `0.2`.
        padding: String, `"same"` or `"symmetric"`, see `WSConv2D`. Defaults to
            `"same"`.
        epsilon: Float, epsilon of weight standardization. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` or `"add"`, see `WSConv2D`. Defaults to
            `"floor"`.
        classifier_std: Float, standard deviation of the classifier's initial
            kernel. Defaults to `0.01`.
        dropout: Float in [0, 1), rate before the classifier in the published
            recipe. Defaults to `0.2`.
        train_size: Integer, side of a training image in pixels. Defaults to
            `192`.
        test_size: Integer, side of a test image in pixels. Defaults to `256`.
        test_crop: Float, `test_size` as a fraction of the side to which a test
            image is resized before it is cropped. Defaults to `None`: the image
            is resized to 32 pixels more than `test_size`.
        test_squash: Boolean, whether that resizing squashes an image to a
            square instead of keeping its aspect ratio. Defaults to `True`.
        pixel_mean: Tuple of floats, subtracted from each channel of an image
            with values in [0, 255]. Defaults to ImageNet's mean.
        pixel_std: Tuple of floats, by which each channel is then divided.
            Defaults to ImageNet's standard deviation.

    Example:

    >>> from dataclasses import replace
    >>> f0 = keras_nfnets.VARIANTS["nfnet_f0"]
    >>> small = replace(f0, depths=(1, 1, 1, 1))
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
