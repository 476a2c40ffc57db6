"""Measures means and variances of the signal over the depth of a network.

A probe is a model with the layers of the measured one, whose outputs are the
moments at each block. `signal_propagation` runs it once,
`plot_signal_propagation` draws the result, and the callback
`SignalPropagation` runs it between epochs of a training.
"""

from typing import Any

import keras
from keras import ops, tree

from keras_nfnets.annotations import FilePath, Logs, Tensor
from keras_nfnets.callbacks.signal_picture import (
    CURVES,
    draw_signals,
    standard_normal,
)
from keras_nfnets.callbacks.signal_probe import Moments, Residual
from keras_nfnets.checks import check_positive_integer
from keras_nfnets.graph import (
    check_functional,
    flat,
    inputs_of,
    residual_sums,
)
from keras_nfnets.layers.block import NFBlock
from keras_nfnets.layers.residual import SkipGain, StochasticDepth

# Layers between a residual branch and its sum that only scale the branch.
SCALES = (
    SkipGain,
    StochasticDepth,
    keras.layers.Dropout,
    keras.layers.Rescaling,
)
CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
)


def signal_propagation(
    model: keras.Model, x: Tensor, training: bool = False
) -> list[dict[str, Any]]:
    """Measures the signal at each block of a functional model.

    The blocks are the `NFBlock` layers, the sums of a shortcut and a residual
    branch, and the concatenations of feature maps. The first row is the stem's:
    the input of the first block. A model without any of these is measured at
    each of its convolutions.

    The mean and the (biased) variance of a channel are taken over all axes but
    the last, then averaged over channels. The residual branch is measured
    before stochastic depth, the skip gain and `alpha`. Of a sum of several
    branches only the first is measured.

    Args:
        model: A functional `keras.Model`.
        x: Array, one batch of the model's inputs.
        training: Boolean, whether the model runs as in training: with dropout,
            and with batch normalization by the batch's statistics. The model
            itself stays unchanged. Defaults to `False`.

    Returns:
        A list of dictionaries, one per block:

        - `name`: String, the layer's name, or `"stem"`.
        - `avg_sq_mean`: Float, average squared channel mean.
        - `avg_var`: Float, average channel variance.
        - `res_avg_var`: Float, average channel variance of the residual branch,
          or `None` where there is none.

    Raises:
        ValueError: If `model` is subclassed or not built, or has neither a
            block nor a convolution.

    Example:

    >>> rows = keras_nfnets.callbacks.signal_propagation(model, x)
    >>> [row["avg_var"] for row in rows]

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3
    """
    probe = _probe(model)
    if training:
        # Keeps the moving statistics of batch normalization as they are.
        state = probe.trainable_variables, probe.non_trainable_variables
        found, _ = probe.stateless_call(*state, x, training=True)
    elif keras.backend.backend() == "jax":
        # JAX compiles the whole probe faster than each operation by itself.
        found = probe.predict_on_batch(x)
    else:
        found = probe(x)
    return _rows(probe, found)


def plot_signal_propagation(
    model: keras.Model,
    path: FilePath,
    x: Tensor | None = None,
    training: bool = False,
) -> None:
    """Draws `signal_propagation` over depth.

    Args:
        model: A functional `keras.Model`.
        path: String or path of the picture.
        x: One batch of the model's inputs. Defaults to `None`, for 16
            standard-normal images of the model's input shape, with 64 pixels
            for a side that may vary.
        training: Boolean, see `signal_propagation`. Defaults to `False`.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: As `signal_propagation` does.

    Example:

    >>> keras_nfnets.callbacks.plot_signal_propagation(model, "spp.png")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3
    """
    check_functional(model)
    x = standard_normal(model) if x is None else x
    rows = signal_propagation(model, x, training)
    draw_signals({model.name: rows}, path)


class SignalPropagation(keras.callbacks.Callback):
    """Measures the signal at each block while a model is trained.

    After each measured epoch, the result of `signal_propagation` is appended to
    the attribute `rows`. Each row also has its `epoch`, counted from 1. The
    logs stay as they are.

    Args:
        x: Array, one batch of the model's inputs.
        every: Integer, epochs between two measurements. The first is after
            the first epoch. Defaults to `1`.
        path: String or path of a picture, drawn anew at each measurement.
            Defaults to `None`, for no picture.

    Raises:
        ValueError: If `every` is not a positive integer, or the model is
            subclassed or not built.

    Example:

    >>> signals = keras_nfnets.callbacks.SignalPropagation(x[:16], every=5)
    >>> model.fit(x, y, epochs=20, callbacks=[signals])
    >>> [row["avg_var"] for row in signals.rows if row["epoch"] == 16]

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3
    """

    def __init__(
        self, x: Tensor, every: int = 1, path: FilePath | None = None
    ) -> None:
        super().__init__()
        check_positive_integer(every=every)
        self.x = x
        self.every = every
        self.path = path
        self.rows: list[Any] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Builds the probe, which shares the layers of the model."""
        self._probe = _probe(self.model)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Measures after every `every`-th epoch, and draws the picture."""
        if epoch % self.every:
            return
        rows = _rows(self._probe, self._probe.predict_on_batch(self.x))
        self.rows += [{"epoch": epoch + 1, **row} for row in rows]
        if self.path is not None:
            draw_signals(self._by_epoch(), self.path)

    def _by_epoch(self):
        """Returns the rows so far as one curve per epoch."""
        curves = {}
        for row in self.rows:
            curves.setdefault(f"epoch {row['epoch']}", []).append(row)
        return curves


def _rows(probe, found):
    """Returns the outputs of a probe as a list of dictionaries."""
    rows = []
    for i, name in enumerate(probe.blocks):
        sq_mean, var = map(float, ops.convert_to_numpy(found[f"{i}"]))
        residual = found.get(f"{i}_residual")
        if residual is not None:
            residual = float(ops.convert_to_numpy(residual)[1])
        values = sq_mean, var, residual
        rows.append({"name": name, **dict(zip(CURVES, values, strict=True))})
    return rows


def _probe(model):
    """Returns a model of the moments, which shares the layers of `model`."""
    check_functional(model)
    model = flat(model)
    outputs, blocks = {}, []
    for i, (name, tensor, residual) in enumerate(_points(model)):
        blocks.append(name)
        outputs[f"{i}"] = Moments()(tensor)
        if residual is not None:
            outputs[f"{i}_residual"] = Moments()(residual)
    probe = keras.Model(model.input, outputs)
    probe.blocks = blocks
    return probe


def _points(model):
    """Returns the name, output and first residual branch of each block."""
    sums = {id(s.operation): s for s in residual_sums(model)}
    makers = {
        id(tensor): operation
        for operation in model.operations
        for tensor in tree.flatten(operation.output)
    }
    found, start = [], None
    for operation in model.operations:
        first, residual = None, None
        if isinstance(operation, NFBlock):
            first = operation.input
            residual = Residual(operation)(first)
        elif id(operation) in sums:
            first = sums[id(operation)].start
            residual = _unscaled(sums[id(operation)].branches[0], makers)
        elif _joins_maps(operation):
            first = inputs_of(operation)[0]
        if first is not None:
            start = first if start is None else start
            found.append((operation.name, operation.output, residual))
    if found:
        return [("stem", start, None), *found]
    return _convolutions(model)


def _convolutions(model):
    """Returns name and output of each convolution, with no residual branch."""
    found = [
        (operation.name, operation.output, None)
        for operation in model.operations
        if isinstance(operation, CONVOLUTIONS)
    ]
    if not found:
        raise ValueError(
            "`model` must have a residual block, a concatenation or a "
            f"convolution. Received: model={model.name!r} with none of them"
        )
    return found


def _joins_maps(operation):
    is_join = isinstance(operation, keras.layers.Concatenate)
    return is_join and len(operation.output.shape) > 2


def _unscaled(tensor, makers):
    """Returns a branch before stochastic depth, skip gain and `alpha`."""
    while _only_scales(makers[id(tensor)]):
        tensor = makers[id(tensor)].input
    return tensor


def _only_scales(operation):
    """Tells of a layer, or of a product with a number."""
    is_product = type(operation).__name__ == "Multiply"
    return isinstance(operation, SCALES) or (
        is_product and len(inputs_of(operation)) == 1
    )
