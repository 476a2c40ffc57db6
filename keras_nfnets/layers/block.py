"""The residual block."""

import keras

from keras_nfnets.layers.attention import SqueezeExcite
from keras_nfnets.layers.composite import Composite
from keras_nfnets.layers.residual import SkipGain, StochasticDepth


@keras.saving.register_keras_serializable("keras_nfnets")
class NFBlock(Composite):
    """Pre-activation bottleneck block of an NFNet: `shortcut + alpha * branch`.

    The branch is 1x1, 3x3 (twice), 1x1, all weight-standardized and the 3x3
    grouped, then squeeze-and-excitation, stochastic depth and the skip gain. A
    block that changes size or channels has a shortcut of average pooling and a
    1x1 convolution, fed by the scaled activation; any other adds its input as
    it is.

    Args:
        filters: Integer, output channels.
        strides: Integer, 1 or 2. Defaults to `1`.
        expansion: Float, bottleneck width as a share of `filters`. Defaults
            to `0.5`.
        group_width: Integer, channels per group of the spatial convolutions.
            The bottleneck is rounded down to whole groups. Defaults to `128`.
        kernel_size: Integer, in pixels. Defaults to `3`.
        alpha: Float, scale of the branch. Defaults to `0.2`.
        beta: Float, scale of the block's input after the activation, one over
            its expected standard deviation. Defaults to `1.0`.
        se_ratio: Float, see `SqueezeExcite`. Defaults to `0.5`.
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
            Defaults to `"gelu"`.
        two_convs: Boolean, two spatial convolutions or one. Defaults to
            `True`.
        big_width: Boolean, whether the bottleneck is a share of `filters` or
            of the input channels. Defaults to `True`.
        stochastic_depth: Float in [0, 1), rate of dropping a sample's branch.
            Defaults to `0.0`.
        epsilon: Float, see `WSConv2D`. Defaults to `1e-4`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`

    Raises:
        ValueError: If the bottleneck has no room for one group.

    Example:

    >>> layer = keras_nfnets.layers.NFBlock(64, strides=2, group_width=16)
    >>> layer(keras.ops.ones((1, 32, 32, 32))).shape
    (1, 16, 16, 64)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4.1 and Figure 3
    """

    def __init__(
        self,
        filters,
        strides=1,
        expansion=0.5,
        group_width=128,
        kernel_size=3,
        alpha=0.2,
        beta=1.0,
        se_ratio=0.5,
        activation="gelu",
        two_convs=True,
        big_width=True,
        stochastic_depth=0.0,
        epsilon=1e-4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.expansion = expansion
        self.group_width = group_width
        self.kernel_size = kernel_size
        self.alpha = alpha
        self.beta = beta
        self.se_ratio = se_ratio
        self.activation = activation
        self.two_convs = two_convs
        self.big_width = big_width
        self.stochastic_depth = stochastic_depth
        self.epsilon = epsilon

    def build(self, input_shape):
        channels = input_shape[-1]
        groups = self._groups(channels)
        width = groups * self.group_width
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
        self.conv2 = self._conv(self.filters, 1, "conv2")
        self.projects = self.strides > 1 or channels != self.filters
        if self.strides > 1:
            self.pool = keras.layers.AveragePooling2D(
                2,
                self.strides,
                "same",
                data_format="channels_last",
                dtype=self.dtype_policy,
                name="pool",
            )
        if self.projects:
            self.conv_shortcut = self._conv(self.filters, 1, "conv_shortcut")
        self.squeeze_excite = SqueezeExcite(
            self.se_ratio, dtype=self.dtype_policy, name="squeeze_excite"
        )
        self.drop = StochasticDepth(
            self.stochastic_depth, dtype=self.dtype_policy, name="drop"
        )
        self.skip_gain = SkipGain(dtype=self.dtype_policy, name="skip_gain")
        self._build_sublayers(input_shape, width)
        self.built = True

    def _groups(self, channels):
        width = int(
            (self.filters if self.big_width else channels) * self.expansion
        )
        if width < self.group_width:
            raise ValueError(
                "`group_width` must not exceed the bottleneck's width, "
                f"{width} channels. Received: group_width={self.group_width}, "
                f"filters={self.filters}, expansion={self.expansion}"
            )
        return width // self.group_width

    def _build_sublayers(self, input_shape, width):
        inner = (*input_shape[:-1], width)
        self.conv0.build(input_shape)
        self.conv1.build(inner)
        if self.two_convs:
            self.conv1b.build(inner)
        self.conv2.build(inner)
        if self.projects:
            self.conv_shortcut.build(input_shape)
        outer = (*input_shape[:-1], self.filters)
        self.squeeze_excite.build(outer)
        self.skip_gain.build(outer)

    def call(self, inputs, training=False):
        activated = self.act_in(inputs)
        x = self.residual(activated)
        x = self.skip_gain(self.drop(x, training=training))
        return x * self.alpha + self.shortcut(inputs, activated)

    def residual(self, activated):
        """Returns the branch up to squeeze-and-excitation."""
        x = self.conv1(self.act(self.conv0(activated)))
        if self.two_convs:
            x = self.conv1b(self.act(x))
        return self.squeeze_excite(self.conv2(self.act(x)))

    def shortcut(self, inputs, activated):
        """Returns what the branch is added to."""
        if not self.projects:
            return inputs
        if self.strides > 1:
            activated = self.pool(activated)
        return self.conv_shortcut(activated)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        height, width = (
            None if size is None else -(-size // self.strides)
            for size in (height, width)
        )
        return (batch, height, width, self.filters)

    def get_config(self):
        config = super().get_config()
        config.update(
            filters=self.filters,
            strides=self.strides,
            expansion=self.expansion,
            group_width=self.group_width,
            kernel_size=self.kernel_size,
            alpha=self.alpha,
            beta=self.beta,
            se_ratio=self.se_ratio,
            activation=self.activation,
            two_convs=self.two_convs,
            big_width=self.big_width,
            stochastic_depth=self.stochastic_depth,
            epsilon=self.epsilon,
        )
        return config
