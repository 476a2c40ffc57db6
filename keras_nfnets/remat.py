"""Rematerialization, so that XLA does not undo it on TensorFlow.

This module knows its backend, because Keras does not: what `keras.remat` does
on TensorFlow computes the same values from the same inputs once more, and XLA
joins the two computations to one. JAX puts a barrier between them.
"""

import itertools

import keras

from keras_nfnets.device import compiled_by_xla


def remat(function):
    """`keras.remat`: values of the function are computed again, not kept.

    With XLA on TensorFlow, a TPU's only way, inputs pass through a barrier the
    second time. Without it a training step of NFNet-F0, compiled for one, had
    as many temporaries and operations as with nothing to compute again.

    Args:
        function: Function of tensors that returns tensors, called once.
    """
    if keras.backend.backend() != "tensorflow" or not compiled_by_xla():
        return keras.remat(function)
    calls = itertools.count()

    def call(*inputs):
        is_again = next(calls) > 0
        return function(*(_barrier(inputs) if is_again else inputs))

    return keras.remat(call)


def _barrier(tensors):
    import tensorflow as tf

    # TensorFlow has it under no public name, and without a gradient.
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    @tf.custom_gradient
    def barrier(*tensors):
        passed = gen_xla_ops.xla_optimization_barrier(tensors)
        return passed, lambda *upstreams: upstreams

    return barrier(*tensors)
