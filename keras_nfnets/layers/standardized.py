"""Adds gain and standardized kernel to a Keras convolution."""

from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.layers.initializers import FanInNormal
from keras_nfnets.layers.standardization import EPSILON_RULES, standardize

DEFAULTS = dict(
    use_gain=True,
    gain_initializer="ones",
    epsilon=1e-4,
    epsilon_rule="floor",
    gamma=1.0,
)


class Standardized:
    """Mixin for a Keras convolution: its gain, and its standardized kernel.

    Stands before the convolution among the bases. The class then says which
    axes of its kernel feed one output unit, and convolves with what
    `standardize` returns.
    """

    kernel_unit_axes: tuple[int, ...]
    # What the convolution calls the initializer of its kernel.
    kernel_initializer_argument = "kernel_initializer"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = {
            name: kwargs.pop(name, default)
            for name, default in DEFAULTS.items()
        }
        if kwargs.get(self.kernel_initializer_argument) is None:
            kwargs[self.kernel_initializer_argument] = FanInNormal()
        super().__init__(*args, **kwargs)
        self._check(settings["epsilon"], settings["epsilon_rule"])
        self.use_gain = settings["use_gain"]
        self.gain_initializer = keras.initializers.get(
            settings["gain_initializer"]
        )
        self.epsilon = settings["epsilon"]
        self.epsilon_rule = settings["epsilon_rule"]
        self.gamma = settings["gamma"]

    def _check(self, epsilon, epsilon_rule):
        """Raises a ValueError for settings that do not suit."""
        if self.data_format != "channels_last":
            raise ValueError(
                "`data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}"
            )
        check_positive(epsilon=epsilon)
        if epsilon_rule not in EPSILON_RULES:
            raise ValueError(
                f"`epsilon_rule` must be one of {EPSILON_RULES}. "
                f"Received: epsilon_rule={epsilon_rule!r}"
            )

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.gain: keras.Variable = None
        if self.use_gain:
            self.gain = self.add_weight(
                name="gain",
                shape=(self._units(input_shape[-1]),),
                initializer=self.gain_initializer,
            )

    def _units(self, channels):
        return self.filters

    def add_weight(
        self, *args: Any, name: str | None = None, **kwargs: Any
    ) -> keras.Variable:
        # Standardization reads kernel and gain in float32 under any policy.
        kwargs.setdefault("autocast", name not in ("kernel", "gain"))
        return super().add_weight(*args, name=name, **kwargs)

    def standardize(self, kernel: Tensor) -> Tensor:
        """Returns the kernel that the convolution uses, in float32."""
        # With LoRA, Keras gives it in the compute dtype.
        kernel = ops.cast(kernel, self.variable_dtype)
        axes, gain = self.kernel_unit_axes, self.gamma
        if self.use_gain:
            gain = self._along_units(ops.convert_to_tensor(self.gain), kernel)
            gain = gain if self.gamma == 1.0 else self.gamma * gain
        return standardize(kernel, gain, axes, self.epsilon, self.epsilon_rule)

    def _along_units(self, gain, kernel):
        """Returns the gain in a shape that broadcasts against the kernel."""
        axes, shape = self.kernel_unit_axes, kernel.shape
        if axes == tuple(range(len(shape) - 1)):
            return gain
        return ops.reshape(
            gain, [1 if i in axes else n for i, n in enumerate(shape)]
        )

    def _cast_kernel(self, kernel):
        return ops.cast(self.standardize(kernel), self.compute_dtype)

    def _with_bias(self, outputs):
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
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


class StandardizedConv(Standardized):
    """The same for what is not transposed and not depthwise."""

    lora_rank: int | None

    def build(self, input_shape: Shape) -> None:
        # Keras locks a layer when it adds LoRA: not before the gain is there.
        rank, self.lora_rank = self.lora_rank, None
        super().build(input_shape)
        if rank:
            self.enable_lora(rank, lora_alpha=self.lora_alpha)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return super().convolution_op(inputs, self._cast_kernel(kernel))

    # Keras writes and reads the kernel and the bias of these only.
    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.built and self.use_gain:
            store["gain"] = self.gain

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        if self.built and self.use_gain:
            self.gain.assign(store["gain"])
