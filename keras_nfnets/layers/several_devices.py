"""Keeps each device's part of a batch where it is, on JAX.

XLA's partitioner gathers the whole batch on every device for a grouped
convolution, and computes all of it there (openxla/xla#47945). Inside of
`jax.shard_map` there is nothing to partition: each device convolves the images
that it has. The compiler for TPUs does so by itself.
"""

import keras

from keras_nfnets.layers.device import device


def on_each_device(convolve, inputs, kernel):
    """Convolves the part of the batch that each device has, with all weights.

    That is for GPUs and CPUs under a `keras.distribution` of JAX. Elsewhere,
    and where the devices cannot share the batch equally, this is
    `convolve(inputs, kernel)`.

    Args:
        convolve: Function of inputs and kernel that treats images alone.
        inputs: Tensor `(batch, ..., channels)`.
        kernel: Tensor, the same for all images.

    Returns:
        What `convolve` returns.
    """
    backend, kind = device()
    if backend != "jax" or kind == "tpu":
        return convolve(inputs, kernel)
    distribution = keras.distribution.distribution()
    if not _can_share(distribution, inputs.shape[0]):
        return convolve(inputs, kernel)
    import jax

    batch = jax.sharding.PartitionSpec(distribution.batch_dim_name)
    return jax.shard_map(
        convolve,
        mesh=distribution.device_mesh.backend_mesh,
        in_specs=(batch, jax.sharding.PartitionSpec()),
        out_specs=batch,
    )(inputs, kernel)


def _can_share(distribution, batch):
    """Returns whether devices of a distribution can share a batch equally.

    Within a function that is split over devices already, each has its part.
    JAX below 0.6 has no public `shard_map`.
    """
    import jax

    if distribution is None or not hasattr(jax, "shard_map"):
        return False
    mesh = distribution.device_mesh.backend_mesh
    devices = mesh.shape.get(distribution.batch_dim_name, 1)
    if devices == 1 or batch is None or batch % devices:
        return False
    return not jax.sharding.get_abstract_mesh().manual_axes
