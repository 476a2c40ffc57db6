"""Makes a model for images of another size from the same layers."""

import keras
from keras import tree

from keras_nfnets.graph import check_functional
from keras_nfnets.image_size import checked_size, sides


def at_size(model, size=None):
    """Returns a functional model that calls the layers of another model again.

    Args:
        model: A functional or built sequential Keras model.
        size: Integer, side in pixels of the images that it takes, a tuple
            `(height, width)`, or `"any"`. Defaults to `None`, the model's own.
            Inputs that are not images, without four axes, stay as they are.

    Returns:
        A `keras.Model` that shares the layers and their weights. It takes
        batches of any size and is not compiled.

    Raises:
        ValueError: If `size` is not one of these, if the model is not known by
            its graph, or if a layer does not take images of that size.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_pico")
    >>> at_size(model, 96).input_shape
    (None, 96, 96, 3)
    """
    check_functional(model)
    if size not in (None, "any"):
        if isinstance(size, str):
            raise ValueError(
                "`size` must be a positive integer, 'any' or None. "
                f"Received: size={size!r}"
            )
        size = checked_size(size=size)
    inputs = [
        keras.Input(
            batch_shape=_input_shape(tensor.shape, size),
            dtype=tensor.dtype,
            name=tensor.name,
        )
        for tensor in model.inputs
    ]
    if isinstance(model, keras.Sequential):
        (x,) = inputs
        for layer in model.layers:
            x = layer(x)
        return keras.Model(inputs[0], x, name=model.name)
    # A clone has the class of its model, and this one is a plain `keras.Model`.
    return keras.models.clone_model(
        keras.Model(model.input, model.output, name=model.name),
        input_tensors=tree.pack_sequence_as(model.input, inputs),
        clone_function=lambda layer: layer,
        call_function=lambda layer, *args, **kwargs: layer(*args, **kwargs),
    )


def _input_shape(shape, size):
    """Returns the shape of an input for images of a size."""
    # The batch is free, whatever the model was built for.
    shape = (None, *shape[1:])
    if size is None or len(shape) != 4:
        return shape
    pair = (None, None) if size == "any" else map(int, sides(size))
    return (None, *pair, shape[-1])
