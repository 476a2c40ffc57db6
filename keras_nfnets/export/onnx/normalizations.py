"""Converts layers that shift and scale each channel by constants."""

import numpy as np

from keras_nfnets.export.folding.scaled import array


def rescaling(graph, layer, x):
    """Converts `Rescaling` to a `Mul` and an `Add`.

    A scale of 1 and an offset of 0 add no node.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its scale and offset are numbers, or have one
            number for each channel.
        x: `Value` of shape `(batch, ..., channels)` in Keras.

    Returns:
        String, the name of the output.
    """
    name, y = layer.name, x
    for kind, numbers, neutral in (
        ("Mul", layer.scale, 1.0),
        ("Add", layer.offset, 0.0),
    ):
        if np.all(np.equal(numbers, neutral)):
            continue
        number = graph.channels(numbers, x.rank, f"{name}/{kind}/number")
        y = graph.add(kind, [y, number], name)
    return y if isinstance(y, str) else y.name


def normalization(graph, layer, x):
    """Converts `Normalization` to a `Sub` and a `Div`.

    It computes `(x - mean) / max(sqrt(variance), 1e-7)`; the bound is the
    epsilon of Keras.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer, adapted or with a mean and a variance.
        x: `Value` of shape `(batch, ..., channels)` in Keras.

    Returns:
        String, the name of the output.

    Raises:
        ValueError: If the layer inverts, or has neither one number nor one for
            each channel.
    """
    name = layer.name
    mean, variance = array(layer.mean), array(layer.variance)
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    if layer.invert or mean.size not in (1, x.shape[-1]):
        raise ValueError(
            f"`{name}` must normalize the last axis and must not invert to "
            f"be written as ONNX. Received: axis={layer.axis}, "
            f"invert={layer.invert}"
        )
    mean = graph.channels(mean, x.rank, f"{name}/mean")
    deviation = graph.channels(deviation, x.rank, f"{name}/deviation")
    y = graph.add("Sub", [x, mean], name)
    return graph.add("Div", [y, deviation], name)


def batch_normalization(graph, layer, x):
    """Converts `BatchNormalization` to the operator of that name.

    It uses the moving mean and variance, as Keras does at inference. ONNX has
    no form without scale and shift: a layer without them gets ones and zeros.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer, over the last axis.
        x: `Value` of shape `(batch, ..., channels)` in Keras.

    Returns:
        String, the name of the output.

    Raises:
        ValueError: If the layer normalizes another axis than the last.
    """
    if layer.axis not in (-1, x.rank - 1):
        raise ValueError(
            f"`{layer.name}` must normalize the last axis to be written as "
            f"ONNX. Received: axis={layer.axis}"
        )
    mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    scale = array(layer.gamma) if layer.scale else np.ones_like(mean)
    shift = array(layer.beta) if layer.center else np.zeros_like(mean)
    inputs = [
        graph.weight(values, f"{layer.name}/{name}")
        for name, values in dict(
            gamma=scale, beta=shift, mean=mean, variance=variance
        ).items()
    ]
    epsilon = float(layer.epsilon)
    return graph.add(
        "BatchNormalization", [x, *inputs], layer.name, epsilon=epsilon
    )
