"""Defines the residual block.

`build` makes the sublayers, since their widths depend on the input's channels.
`call` computes the branch and the shortcut from one activated input, and adds
the two.
"""

from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.layers.attention import (
    EfficientChannelAttention,
    SqueezeExcite,
)
from keras_nfnets.layers.composite import Composite
from keras_nfnets.layers.remat import remat
from keras_nfnets.layers.residual import SkipGain, StochasticDepth
from keras_nfnets.variants.rounding import bottleneck_width, make_divisible

ATTENTIONS = ("se", "eca", None)
SHORTCUTS = ("pool", "stride")


@keras.saving.register_keras_serializable("keras_nfnets")
class NFBlock(Composite):
    """Pre-activation bottleneck block of an NFNet: `shortcut + alpha * branch`.

    The branch is a 1x1 convolution, one or two grouped 3x3 convolutions, and
    another 1x1 convolution, all with standardized weights. Channel attention,
    the skip gain and stochastic depth follow.

    A block that changes the image's size or the channels is a transition
    block. Its shortcut takes the activated input through average pooling and a
    1x1 convolution. The shortcut of any other block is the input itself.

    Args:
        filters: Integer, output channels.
        strides: Integer, 1 or 2, in pixels. Defaults to `1`.
        expansion: Float, bottleneck width as a fraction of `filters`.
            Defaults to `0.5`.
        group_width: Integer, channels per group of the spatial convolutions,
            or `None` for one group. The bottleneck is rounded down to whole
            groups. Defaults to `128`.
        kernel_size: Integer, side of the spatial kernels in pixels. Defaults
            to `3`.
        alpha: Float, scale of the branch. Defaults to `0.2`.
        beta: Float, multiplies the first activation's output. It is one over
            the expected standard deviation of the block's input. Defaults to
            `1.0`.
        attention: String, `"se"` for `SqueezeExcite`, `"eca"` for
            `EfficientChannelAttention`, or `None`. Defaults to `"se"`.
        attention_inside: Boolean, whether attention stands before the last
            1x1 convolution, rather than after it. Defaults to `False`.
        se_ratio: Float, hidden units of `SqueezeExcite` as a fraction of its
            input channels. Defaults to `0.5`.
        two_convs: Boolean, whether the branch has two spatial convolutions,
            rather than one. Defaults to `True`.
        big_width: Boolean, whether `expansion` is a fraction of `filters`,
            rather than of the input channels. Defaults to `True`.
        divisor: Integer, the bottleneck's width and the hidden units are
            rounded to multiples of it, as in timm. Defaults to `1`, which
            rounds down to whole channels, as in the papers.
        shortcut: String, how the shortcut of a transition block reduces the
            size: `"pool"` by average pooling, or `"stride"` by the stride of
            its 1x1 convolution. Defaults to `"pool"`.
        use_skip_gain: Boolean, whether the branch ends in a `SkipGain`.
            Without it the gain of the last 1x1 convolution starts at zero
            instead. Defaults to `True`.
        stochastic_depth: Float in [0, 1), probability of dropping a sample's
            branch. Defaults to `0.0`.
        remat: Boolean, whether the backward pass recomputes the block's
            activations by `keras.remat`, rather than keep them. It saves
            memory and takes time. Defaults to `False`.
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
            Defaults to `"gelu"`.
        padding: String, `"same"`, or `"symmetric"` as PyTorch pads, see
            `WSConv2D`. Defaults to `"same"`.
        epsilon: Float, keeps standardization from a division by zero, see
            `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` or `"add"`, how `epsilon` enters, see
            `WSConv2D`. Defaults to `"floor"`.
        gamma_in_kernel: Boolean, whether the activation's gamma multiplies
            the standardized kernels instead of the activations, as in timm.
            Defaults to `False`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`

    Raises:
        ValueError: If the bottleneck is narrower than one group, or
            `attention`, `shortcut` or `activation` is unknown.

    Example:

    >>> layer = keras_nfnets.layers.NFBlock(64, strides=2, group_width=16)
    >>> layer(keras.ops.ones((1, 32, 32, 32))).shape
    (1, 16, 16, 64)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4.1 and Figure 3
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        expansion: float = 0.5,
        group_width: int | None = 128,
        kernel_size: int = 3,
        alpha: float = 0.2,
        beta: float = 1.0,
        attention: str | None = "se",
        attention_inside: bool = False,
        se_ratio: float = 0.5,
        two_convs: bool = True,
        big_width: bool = True,
        divisor: int = 1,
        shortcut: str = "pool",
        use_skip_gain: bool = True,
        stochastic_depth: float = 0.0,
        remat: bool = False,
        activation: str = "gelu",
        padding: str = "same",
        epsilon: float = 1e-4,
        epsilon_rule: str = "floor",
        gamma_in_kernel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            activation=activation,
            padding=padding,
            epsilon=epsilon,
            epsilon_rule=epsilon_rule,
            gamma_in_kernel=gamma_in_kernel,
            **kwargs,
        )
        _check_one_of("attention", attention, ATTENTIONS)
        _check_one_of("shortcut", shortcut, SHORTCUTS)
        self.filters = filters
        self.strides = strides
        self.expansion = expansion
        self.group_width = group_width
        self.kernel_size = kernel_size
        self.alpha = alpha
        self.beta = beta
        self.attention = attention
        self.attention_inside = attention_inside
        self.se_ratio = se_ratio
        self.two_convs = two_convs
        self.big_width = big_width
        self.divisor = divisor
        self.shortcut = shortcut
        self.use_skip_gain = use_skip_gain
        self.stochastic_depth = stochastic_depth
        self.remat = remat

    def build(self, input_shape: Shape) -> None:
        """Makes and builds the sublayers for the input's channels."""
        channels = input_shape[-1]
        width, groups = bottleneck_width(
            self.filters if self.big_width else channels,
            self.expansion,
            self.group_width,
            self.divisor,
        )
        self.projects = self.strides > 1 or channels != self.filters
        self._make_convs(width, groups)
        self._make_shortcut()
        self._make_branch_end(width if self.attention_inside else self.filters)
        self._build_sublayers(input_shape, width)
        self._keep_frozen()
        self.built = True

    # Files hold the variables in the order in which `build` makes sublayers.
    def _make_convs(self, width, groups):
        """Makes the activations and convolutions of the branch."""
        self.act_in = self._act("act_in", self.beta)
        self.act = self._act("act")
        self.conv0 = self._conv(width, 1, "conv0")
        self.conv1 = self._conv(
            width, self.kernel_size, "conv1", self.strides, groups
        )
        if self.two_convs:
            self.conv1b = self._conv(
                width, self.kernel_size, "conv1b", groups=groups
            )
        gain = 1.0 if self.use_skip_gain else 0.0
        self.conv2 = self._conv(self.filters, 1, "conv2", gain=gain)

    def _make_attention(self, channels):
        """Makes the attention layer, if the block has one."""
        if self.attention == "eca":
            self.eca = EfficientChannelAttention(
                dtype=self.dtype_policy, name="eca"
            )
        if self.attention == "se":
            hidden = make_divisible(
                channels * self.se_ratio, self.divisor, smallest_fraction=0.0
            )
            self.squeeze_excite = SqueezeExcite(
                hidden=hidden, dtype=self.dtype_policy, name="squeeze_excite"
            )

    def _make_shortcut(self):
        """Makes the pooling and the 1x1 convolution of a transition block."""
        strides = self.strides
        if self.shortcut == "pool" and strides > 1:
            self.pool = keras.layers.AveragePooling2D(
                2,
                strides,
                "same",
                data_format="channels_last",
                dtype=self.dtype_policy,
                name="pool",
            )
            strides = 1
        if self.projects:
            self.conv_shortcut = self._conv(
                self.filters, 1, "conv_shortcut", strides
            )

    def _make_branch_end(self, attended_channels):
        """Makes attention, stochastic depth and the skip gain."""
        self._make_attention(attended_channels)
        self.drop = StochasticDepth(
            self.stochastic_depth, dtype=self.dtype_policy, name="drop"
        )
        if self.use_skip_gain:
            self.skip_gain = SkipGain(dtype=self.dtype_policy, name="skip_gain")

    def _build_sublayers(self, input_shape, width):
        """Builds each sublayer for the shape of its input."""
        inner = (*input_shape[:-1], width)
        outer = (*input_shape[:-1], self.filters)
        self.conv0.build(input_shape)
        self.conv1.build(inner)
        if self.two_convs:
            self.conv1b.build(inner)
        self.conv2.build(inner)
        if self.projects:
            self.conv_shortcut.build(input_shape)
        if self.attention:
            attended = inner if self.attention_inside else outer
            self._attention_layer().build(attended)
        if self.use_skip_gain:
            self.skip_gain.build(outer)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Returns the shortcut plus the scaled branch.

        Args:
            inputs: Tensor `(batch, height, width, channels)`.
            training: Boolean, whether stochastic depth drops branches.
                Defaults to `False`.

        Returns:
            A tensor
            `(batch, ceil(height / strides), ceil(width / strides), filters)`.
        """
        # Stochastic depth stays outside of the recomputed part, which would
        # draw other samples the second time.
        parts = self.branch_and_shortcut
        parts = remat(parts, self) if self.remat else parts
        branch, shortcut = parts(inputs)
        return self.drop(branch, training=training) + shortcut

    def branch_and_shortcut(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the two summands of the block, before stochastic depth.

        The attention's gate, alpha and the skip gain are multiplied with each
        other first. The feature map is then multiplied once.

        Args:
            inputs: Tensor `(batch, height, width, channels)`.

        Returns:
            Two tensors of the output's shape: the scaled branch, and the
            shortcut.
        """
        activated = self.act_in(inputs)
        x, scale = self._branch(activated)
        scale = scale * self.alpha
        if self.use_skip_gain:
            scale = self.skip_gain(scale)
        return x * scale, self._shortcut(inputs, activated)

    def residual(self, activated: Tensor) -> Tensor:
        """Returns the branch through its attention, without alpha and gain.

        `SignalPropagation` measures its variance, as the paper's plots do.

        Args:
            activated: Tensor, the block's input after its first activation.
        """
        x, scale = self._branch(activated)
        return x * scale

    def _branch(self, activated):
        """Returns the last convolution's output and the attention's factors.

        The factors are `(batch, 1, 1, filters)`, or 1 where no attention
        follows the last convolution.
        """
        x = self.conv1(self.act(self.conv0(activated)))
        if self.two_convs:
            x = self.conv1b(self.act(x))
        if self.attention and self.attention_inside:
            x = self._attention_layer()(x)
        x = self.conv2(self.act(x))
        if self.attention and not self.attention_inside:
            return x, self._attention_layer().scales(x)
        return x, ops.ones((), x.dtype)

    # A second attribute for the layer would change its name in saved files.
    def _attention_layer(self):
        return self.eca if self.attention == "eca" else self.squeeze_excite

    def _shortcut(self, inputs: Tensor, activated: Tensor) -> Tensor:
        """Returns the input, or its projection in a transition block."""
        if not self.projects:
            return inputs
        if self.shortcut == "pool" and self.strides > 1:
            activated = self.pool(activated)
        return self.conv_shortcut(activated)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sides, _ = input_shape
        sides = [size and -(-size // self.strides) for size in sides]
        return (batch, *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            filters=self.filters,
            strides=self.strides,
            expansion=self.expansion,
            group_width=self.group_width,
            kernel_size=self.kernel_size,
            alpha=self.alpha,
            beta=self.beta,
            attention=self.attention,
            attention_inside=self.attention_inside,
            se_ratio=self.se_ratio,
            two_convs=self.two_convs,
            big_width=self.big_width,
            divisor=self.divisor,
            shortcut=self.shortcut,
            use_skip_gain=self.use_skip_gain,
            stochastic_depth=self.stochastic_depth,
            remat=self.remat,
        )
        return config


def _check_one_of(name, value, choices):
    """Raises a ValueError unless the argument's value is a known name."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {choices}. Received: {name}={value!r}"
        )
