"""Rematerializes activations in a way that XLA does not undo.

A rematerialized function keeps only its inputs for the backward pass, and
computes its activations again there. That trades time for memory.

`keras.remat` does so on every backend, but XLA sees the same values computed
twice from the same inputs, and merges the two computations into one. JAX
prevents it by a barrier between the passes. On TensorFlow Keras has no
barrier, so this module adds one. That is why it knows its backend.
"""

import functools

import keras

from keras_nfnets.layers.device import compiled_by_xla


def remat(function, layer):
    """Returns the function with its activations recomputed, not kept.

    It is `keras.remat`, except for programs that TensorFlow compiles by XLA,
    as it always does for a TPU. Those get a barrier.

    Args:
        function: Function of tensors that returns tensors, and draws no
            random numbers.
        layer: `keras.layers.Layer` whose weights the function reads. Its
            trainable weights get gradients.

    Returns:
        A function of the same tensors.

    Example:

    >>> layer = keras.layers.Dense(4)
    >>> layer.build((None, 3))
    >>> remat(layer.call, layer)(keras.ops.ones((2, 3))).shape
    (2, 4)

    Reference: [Chen et al., 2016](https://arxiv.org/abs/1604.06174)
    """
    if keras.backend.backend() != "tensorflow" or not compiled_by_xla():
        return keras.remat(function)
    return functools.partial(
        _recomputed_behind_barrier, function, layer.trainable_variables
    )


def _recomputed_behind_barrier(function, variables, *inputs):
    """Calls a function whose backward pass recomputes it behind a barrier.

    TensorFlow's custom gradients know tensors only. The weights therefore
    enter as tensors too, and a stateless scope gives them to the layer.
    """
    import tensorflow as tf

    # The barrier has no public name in TensorFlow.
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    def compute(tensors):
        values = tensors[len(inputs) :]
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return function(*tensors[: len(inputs)])

    @tf.custom_gradient
    def run(*tensors):
        def gradient(*upstreams):
            # The upstream gradients pass the barrier too, so that the
            # recomputation cannot begin before they exist. So do the weights,
            # or XLA would keep the kernels that are computed from them.
            behind = gen_xla_ops.xla_optimization_barrier(
                [*tensors, *upstreams]
            )
            copies, upstreams = behind[: len(tensors)], behind[len(tensors) :]
            with tf.GradientTape() as tape:
                tape.watch(copies)
                outputs = tf.nest.flatten(compute(copies))
            return tape.gradient(
                outputs, copies, upstreams, unconnected_gradients="zero"
            )

        return compute(tensors), gradient

    return run(*inputs, *map(tf.convert_to_tensor, variables))
