"""The same model, with its weights, for images of another size."""

import keras
from keras import tree

from keras_nfnets.checks import check_whole
from keras_nfnets.graph import check_functional


def at_size(model, size=None):
    """Returns a functional model of the layers that a model has.

    Args:
        model: A functional or built sequential Keras model.
        size: Integer, side in pixels of the images that it takes, or `"any"`.
            Defaults to `None`, the model's own. Inputs that are no images
            stay as they are.

    Returns:
        A `keras.Model` that shares the layers.

    Raises:
        ValueError: If `size` is neither, or the model is not known by its
            graph, or has layers that need another size.
    """
    check_functional(model)
    if size not in (None, "any"):
        if isinstance(size, str):
            raise ValueError(
                "`size` must be a positive integer, 'any' or None. "
                f"Received: size={size!r}"
            )
        check_whole(size=size)
    inputs = [
        keras.Input(
            batch_shape=_shape(tensor.shape, size),
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
    # Plain, so that what is returned is neither compiled nor of a class of
    # the user's.
    return keras.models.clone_model(
        keras.Model(model.input, model.output, name=model.name),
        input_tensors=tree.pack_sequence_as(model.input, inputs),
        clone_function=lambda layer: layer,
        call_function=lambda layer, *args, **kwargs: layer(*args, **kwargs),
    )


def _shape(shape, size):
    # Any number of images, whatever the model was built for.
    shape = (None, *shape[1:])
    if size is None or len(shape) != 4:
        return shape
    side = None if size == "any" else int(size)
    return (None, side, side, shape[-1])
