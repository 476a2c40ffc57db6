"""Rematerializes activations, so that XLA does not undo it.

This module knows its backend, because Keras does not: what `keras.remat` does
on TensorFlow computes the same values from the same inputs once more, and XLA
joins the two computations to one. JAX puts a barrier between them.
"""

import functools

import keras

from keras_nfnets.layers.device import compiled_by_xla


def remat(function, layer):
    """`keras.remat`: values of the function are computed again, not kept.

    With XLA on TensorFlow, a TPU's only way, there is a barrier as on JAX.
    Without it a training step of NFNet-F0, compiled for a TPU, had as many
    temporaries and operations as with nothing to compute again.

    Args:
        function: Function of tensors that returns tensors.
        layer: `keras.layers.Layer` whose weights it reads.
    """
    if keras.backend.backend() != "tensorflow" or not compiled_by_xla():
        return keras.remat(function)
    return functools.partial(_call, function, layer.trainable_variables)


def _call(function, variables, *inputs):
    """Calls a function that is computed again for its gradient."""
    import tensorflow as tf

    # TensorFlow has the barrier under no public name.
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    def compute(tensors):
        values = tensors[len(inputs) :]
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return function(*tensors[: len(inputs)])

    @tf.custom_gradient
    def run(*tensors):
        def gradient(*upstreams):
            # Behind the upstream gradients, so that it is not begun before; and
            # of the weights too, or what is made of them would be kept.
            held = gen_xla_ops.xla_optimization_barrier([*tensors, *upstreams])
            again, upstreams = held[: len(tensors)], held[len(tensors) :]
            with tf.GradientTape() as tape:
                tape.watch(again)
                outputs = tf.nest.flatten(compute(again))
            return tape.gradient(
                outputs, again, upstreams, unconnected_gradients="zero"
            )

        return compute(tensors), gradient

    return run(*inputs, *map(tf.convert_to_tensor, variables))
