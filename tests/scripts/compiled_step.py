"""Compiles a training step of JAX, for the scripts that look at its program."""

import jax


def compiled_step(model, data, mesh=None):
    """Returns the program of a model's `train_step`, compiled.

    Args:
        model: A compiled model that was trained.
        data: Tuple of arrays, the batch.
        mesh: `jax.sharding.Mesh` with an axis `"batch"`, over which the batch
            is split. Defaults to `None`, one device.
    """
    state = model._get_jax_state(
        trainable_variables=True,
        non_trainable_variables=True,
        optimizer_variables=True,
        metrics_variables=True,
    )
    if mesh is not None:
        batch = jax.sharding.PartitionSpec("batch")
        data = jax.device_put(data, jax.sharding.NamedSharding(mesh, batch))

    def step(*args):  # not traced yet, as `model.train_step` is
        return model.train_step(*args)

    return jax.jit(step).lower(state, data).compile()
