"""Convolutions with scaled weight standardization."""

import math

import keras
from keras import ops

from keras_nfnets.convolve import conv


@keras.saving.register_keras_serializable("keras_nfnets")
class WSConv2D(keras.layers.Conv2D):
    """2D convolution with scaled weight standardization.

    Per output channel, the kernel w becomes
    `gain * (w - mean(w)) / sqrt(max(fan_in * var(w), epsilon))`, in float32
    whatever the compute dtype.

    Args:
        filters: Integer, output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides: Integer or tuple of 2 integers, in pixels. Defaults to
            `(1, 1)`.
        padding: String, `"valid"` or `"same"`. Defaults to `"valid"`.
        use_gain: Boolean, whether each output channel has a learnable gain.
            Defaults to `True`.
        gain_initializer: Initializer of the gain. Defaults to `"ones"`.
        epsilon: Float, floor under `fan_in * var(w)`. Defaults to `1e-4`.
        kernel_initializer: Initializer of the kernel. Defaults to a normal
            distribution of variance `1 / fan_in`.
        **kwargs: Every other argument of `keras.layers.Conv2D`, with its
            default there.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`

    Raises:
        ValueError: If `epsilon` is not positive, or `data_format` is
            `"channels_first"`.

    Example:

    >>> layer = keras_nfnets.layers.WSConv2D(64, 3, strides=2, padding="same")
    >>> layer(keras.ops.ones((1, 32, 32, 3))).shape
    (1, 16, 16, 64)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=(1, 1),
        padding="valid",
        *,
        use_gain=True,
        gain_initializer="ones",
        epsilon=1e-4,
        kernel_initializer=None,
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            kernel_initializer=kernel_initializer
            or keras.initializers.VarianceScaling(
                1.0, "fan_in", "untruncated_normal"
            ),
            **kwargs,
        )
        if self.data_format != "channels_last":
            raise ValueError(
                "`data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}"
            )
        if not epsilon > 0:
            raise ValueError(
                f"`epsilon` must be positive. Received: epsilon={epsilon}"
            )
        self.use_gain = use_gain
        self.gain_initializer = keras.initializers.get(gain_initializer)
        self.epsilon = epsilon

    def build(self, input_shape):
        super().build(input_shape)
        self.gain = None
        if self.use_gain:
            self.gain = self.add_weight(
                name="gain",
                shape=(self.filters,),
                initializer=self.gain_initializer,
            )

    def add_weight(self, *args, name=None, **kwargs):
        # Standardization reads kernel and gain in float32 under any policy.
        kwargs.setdefault("autocast", name not in ("kernel", "gain"))
        return super().add_weight(*args, name=name, **kwargs)

    def standardize(self, kernel):
        """Returns the kernel that the convolution uses, in float32."""
        kernel = ops.convert_to_tensor(kernel)
        axes = list(range(len(kernel.shape) - 1))
        fan_in = math.prod(kernel.shape[:-1])
        centered = kernel - ops.mean(kernel, axis=axes, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=axes, keepdims=True)
        scale = ops.rsqrt(ops.maximum(variance * fan_in, self.epsilon))
        if self.use_gain:
            scale = scale * ops.convert_to_tensor(self.gain)
        return centered * scale

    def convolution_op(self, inputs, kernel):
        kernel = ops.cast(self.standardize(kernel), self.compute_dtype)
        return conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
        )

    # BaseConv writes and reads the kernel and the bias only.
    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.built and self.use_gain:
            store["gain"] = self.gain

    def load_own_variables(self, store):
        super().load_own_variables(store)
        if self.built and self.use_gain:
            self.gain.assign(store["gain"])

    def get_config(self):
        config = super().get_config()
        config.update(
            use_gain=self.use_gain,
            gain_initializer=keras.initializers.serialize(
                self.gain_initializer
            ),
            epsilon=self.epsilon,
        )
        return config
