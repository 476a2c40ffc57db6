"""Scaled weight standardization, shared by the convolutions that have it."""

import math

import keras
from keras import ops

EPSILON_RULES = ("floor", "add")


def default_kernel_initializer():
    """Returns a normal distribution of variance `1 / fan_in`."""
    return keras.initializers.VarianceScaling(
        1.0, "fan_in", "untruncated_normal"
    )


class Standardized:
    """Mixin for a Keras convolution: its gain, and its standardized kernel.

    A class that has it calls `_set_standardization` in `__init__`, after the
    convolution's own, and gives the kernel that its convolution is to use
    through `standardize`.
    """

    # Which axes of the kernel feed one output unit.
    kernel_unit_axes = None

    def _set_standardization(
        self, use_gain, gain_initializer, epsilon, epsilon_rule, gamma
    ):
        if self.data_format != "channels_last":
            raise ValueError(
                "`data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}"
            )
        if not epsilon > 0:
            raise ValueError(
                f"`epsilon` must be positive. Received: epsilon={epsilon}"
            )
        if epsilon_rule not in EPSILON_RULES:
            raise ValueError(
                f"`epsilon_rule` must be one of {EPSILON_RULES}. "
                f"Received: epsilon_rule={epsilon_rule!r}"
            )
        self.use_gain = use_gain
        self.gain_initializer = keras.initializers.get(gain_initializer)
        self.epsilon = epsilon
        self.epsilon_rule = epsilon_rule
        self.gamma = gamma

    def build(self, input_shape):
        super().build(input_shape)
        self.gain = None
        if self.use_gain:
            self.gain = self.add_weight(
                name="gain",
                shape=self._gain_shape(),
                initializer=self.gain_initializer,
            )

    def _gain_shape(self):
        return (self.filters,)

    def add_weight(self, *args, name=None, **kwargs):
        # Standardization reads kernel and gain in float32 under any policy.
        kwargs.setdefault("autocast", name not in ("kernel", "gain"))
        return super().add_weight(*args, name=name, **kwargs)

    def standardize(self, kernel):
        """Returns the kernel that the convolution uses, in float32."""
        kernel = ops.convert_to_tensor(kernel)
        axes = self.kernel_unit_axes
        fan_in = math.prod(kernel.shape[axis] for axis in axes)
        centered = kernel - ops.mean(kernel, axis=axes, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=axes, keepdims=True)
        if self.epsilon_rule == "floor":
            scale = ops.rsqrt(ops.maximum(variance * fan_in, self.epsilon))
        else:
            scale = ops.rsqrt((variance + self.epsilon) * fan_in)
        if self.use_gain:
            gain = ops.convert_to_tensor(self.gain)
            scale = scale * ops.reshape(gain, scale.shape)
        if self.gamma != 1.0:
            scale = scale * self.gamma
        return centered * scale

    # Keras's convolutions write and read the kernel and the bias only.
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
            epsilon_rule=self.epsilon_rule,
            gamma=self.gamma,
        )
        return config
