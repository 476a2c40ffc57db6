"""Defines the residual block."""

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

    The branch is 1x1, 3x3 (once or twice), 1x1, all weight-standardized and
    the 3x3 grouped, then channel attention, stochastic depth and the skip
    gain. A block that changes size or channels has a shortcut of average
    pooling and a 1x1 convolution; any other adds its input as it is.

    Args:
        filters: Integer, output channels.
        strides: Integer, 1 or 2. Defaults to `1`.
        expansion: Float, bottleneck width as a share of `filters`. Defaults
            to `0.5`.
        group_width: Integer, channels per group of the spatial convolutions,
            or `None` for one group. The bottleneck is rounded down to whole
            groups. Defaults to `128`.
        kernel_size: Integer, in pixels. Defaults to `3`.
        alpha: Float, scale of the branch. Defaults to `0.2`.
        beta: Float, scale of the block's input after the activation, one over
            its expected standard deviation. Defaults to `1.0`.
        attention: String, `"se"` for `SqueezeExcite`, `"eca"` for
            `EfficientChannelAttention`, or `None`. Defaults to `"se"`.
        attention_inside: Boolean, whether attention stands before the last
            1x1, or on the branch's output. Defaults to `False`.
        se_ratio: Float, hidden units of `SqueezeExcite` as a share of its
            input channels. Defaults to `0.5`.
        two_convs: Boolean, two 3x3 convolutions or one. Defaults to `True`.
        big_width: Boolean, whether the bottleneck is a share of `filters` or
            of the input channels. Defaults to `True`.
        divisor: Integer, the bottleneck's width and the hidden units are
            rounded to its multiples, as timm does. Defaults to `1`, down to
            whole channels, as the papers do.
        shortcut: String, how a shortcut shrinks: `"pool"` as above, or
            `"stride"` for a strided 1x1 convolution. Defaults to `"pool"`.
        use_skip_gain: Boolean, whether the branch ends in a `SkipGain`.
            Without it the gain of the last 1x1 starts at zero instead.
            Defaults to `True`.
        stochastic_depth: Float in [0, 1), rate of dropping a sample's branch.
            Defaults to `0.0`.
        remat: Boolean, whether training computes the block again for its
            gradient, by `keras.remat`, rather than keep what is inside it.
            Defaults to `False`.
        **kwargs: Settings that stem, block and head share, and those of
            `keras.layers.Layer`. `activation`: string, a name in
            `keras_nfnets.activations.GAMMA`, by default `"gelu"`. `padding`
            (`"same"` by default), `epsilon` and `epsilon_rule`: see
            `WSConv2D`. `gamma_in_kernel`: boolean, whether the activation's
            constant multiplies the kernels in place of the activations, by
            default `False`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`

    Raises:
        ValueError: If no group has room, or a name is unknown.

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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
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
        self._make_ending(width if self.attention_inside else self.filters)
        self._build_sublayers(input_shape, width)
        self.built = True

    # The order of these is the order of the variables in saved files.
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
        """Makes the attention layer, if there is one."""
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
        """Makes the pooling and the 1x1 convolution of the shortcut."""
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

    def _make_ending(self, attended_channels):
        self._make_attention(attended_channels)
        self.drop = StochasticDepth(
            self.stochastic_depth, dtype=self.dtype_policy, name="drop"
        )
        if self.use_skip_gain:
            self.skip_gain = SkipGain(dtype=self.dtype_policy, name="skip_gain")

    def _build_sublayers(self, input_shape, width):
        """Builds the sublayers, each for the channels that reach it."""
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
        # What is drawn at random stays outside: it must not be drawn again.
        parts = self.branch_and_shortcut
        parts = remat(parts, self) if self.remat else parts
        branch, shortcut = parts(inputs)
        return self.drop(branch, training=training) + shortcut

    def branch_and_shortcut(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the branch, scaled at once, and what it is added to."""
        activated = self.act_in(inputs)
        x, scale = self._branch(activated)
        scale = scale * self.alpha
        if self.use_skip_gain:
            scale = self.skip_gain(scale)
        return x * scale, self._shortcut(inputs, activated)

    def residual(self, activated: Tensor) -> Tensor:
        """Returns the branch up to its attention."""
        x, scale = self._branch(activated)
        return x * scale

    def _branch(self, activated):
        """Returns the branch up to its last 1x1, and attention's scale."""
        x = self.conv1(self.act(self.conv0(activated)))
        if self.two_convs:
            x = self.conv1b(self.act(x))
        if self.attention and self.attention_inside:
            x = self._attention_layer()(x)
        x = self.conv2(self.act(x))
        if self.attention and not self.attention_inside:
            return x, self._attention_layer().scales(x)
        return x, ops.ones((), x.dtype)

    # Not an attribute of its own, which would be saved under that name.
    def _attention_layer(self):
        return self.eca if self.attention == "eca" else self.squeeze_excite

    def _shortcut(self, inputs: Tensor, activated: Tensor) -> Tensor:
        """Returns what the branch is added to."""
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
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {choices}. Received: {name}={value!r}"
        )
