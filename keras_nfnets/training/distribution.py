"""Finds the devices to train on, on this machine or in a cluster.

`scope` is a context manager that sets up data parallelism in the backend's own
way. It returns `Devices`: how many replicas share a batch, and which part of
the data this process reads. A replica is one device with a copy of the
weights. A host is one process. The rest of the package asks `Devices` only.
"""

import contextlib
import dataclasses
import glob
import importlib.util
import json
import os
from collections.abc import Iterator

import keras


@dataclasses.dataclass(frozen=True)
class Devices:
    """The replicas and hosts that share each batch.

    Args:
        replicas: Integer, number of devices that train together, on all hosts.
            Defaults to `1`.
        hosts: Integer, number of processes that each read their own part of
            the data. Defaults to `1`.
        host: Integer from 0 to `hosts - 1`, the number of this process.
            Defaults to `0`.

    Example:

    >>> with keras_nfnets.distribution.scope() as devices:
    ...     devices.check_batch(256)
    """

    replicas: int = 1
    hosts: int = 1
    host: int = 0

    @property
    def kind(self) -> str:
        """The kind of each replica's device: `"TPU"`, `"GPU"` or `"CPU"`."""
        return _KIND[keras.backend.backend()]()

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.host == 0

    def check_batch(self, batch_size: int) -> None:
        """Raises a ValueError unless the replicas can share a batch equally.

        Args:
            batch_size: Integer, images per step on all replicas together.

        Raises:
            ValueError: If `batch_size` is not a multiple of `replicas`.
        """
        if batch_size % self.replicas:
            raise ValueError(
                "`batch_size` must be divisible by the number of replicas. "
                f"Received: batch_size={batch_size} on {self.replicas} replicas"
            )


def _kind_on_tensorflow():
    """Returns the fastest kind of device that TensorFlow finds."""
    import tensorflow as tf

    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    return next((k for k in ("TPU", "GPU") if k in kinds), "CPU")


def _kind_on_jax():
    """Returns the kind of JAX's default devices."""
    import jax

    return jax.default_backend().upper()


def _kind_on_torch():
    """Returns whether Keras trains on a GPU or a CPU with PyTorch."""
    import torch

    return "GPU" if torch.cuda.is_available() else "CPU"


_KIND = {
    "tensorflow": _kind_on_tensorflow,
    "jax": _kind_on_jax,
    "torch": _kind_on_torch,
}


@contextlib.contextmanager
def scope() -> Iterator[Devices]:
    """Trains on all devices of the backend, as a context manager.

    Build and compile the model inside of it.

    - TensorFlow: `TPUStrategy` if there is a TPU (`TPU_NAME`, Colab's
      `COLAB_TPU_ADDR`, or a TPU of this machine). `MirroredStrategy` if there
      are several GPUs, or no GPU and several logical CPUs. Otherwise one
      device.
    - JAX: `keras.distribution.DataParallel` over all devices, if there are
      several. The process first joins others if environment variables say
      that there are others: those of Keras
      (`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `_NUM_PROCESSES`, `_PROCESS_ID`), of
      JAX (`JAX_COORDINATOR_ADDRESS`), of a TPU pod, of Slurm or of Open MPI.
      The devices of all processes then train together.
    - PyTorch: one device, as Keras has no data parallelism there.

    On JAX each process reads its own part of a batch. Pass `host` and `hosts`
    to the input pipeline. This was tested with virtual CPU devices, in one and
    in two processes, but with no TPU and no second GPU.

    Returns:
        A context manager whose value is `Devices`.

    Raises:
        ValueError: If `TF_CONFIG` names several TensorFlow workers, which
            Keras 3 does not support.

    Example:

    >>> with keras_nfnets.distribution.scope() as devices:
    ...     model = keras_nfnets.NFNet("nfnet_pico")
    ...     model.compile(**recipe.compile_args(steps_per_epoch=4))
    """
    enter = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    with enter[keras.backend.backend()]() as devices:
        yield devices


@contextlib.contextmanager
def _torch():
    """Opens nothing: PyTorch trains on one device."""
    yield Devices()


@contextlib.contextmanager
def _tensorflow():
    """Opens the scope of a `tf.distribute` strategy for the devices here."""
    import tensorflow as tf

    _refuse_workers()
    gpus = tf.config.list_logical_devices("GPU")
    cpus = tf.config.list_logical_devices("CPU")
    tpu = _tpu_name()
    if tpu is not None:
        strategy = _tpu_strategy(tpu)
    elif len(gpus) > 1 or (not gpus and len(cpus) > 1):
        strategy = tf.distribute.MirroredStrategy(
            [d.name for d in gpus or cpus]
        )
    else:
        yield Devices()
        return
    with strategy.scope():
        yield Devices(strategy.num_replicas_in_sync)


def _refuse_workers():
    """Raises a ValueError if TensorFlow was set up for several workers."""
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {})
    workers = [address for job in cluster.values() for address in job]
    if len(workers) > 1:
        raise ValueError(
            "`TF_CONFIG` must not name several workers: Keras 3 does not "
            "support MultiWorkerMirroredStrategy. KERAS_BACKEND=jax trains on "
            f"several hosts. Received: {workers}"
        )


def _tpu_name():
    """Returns the name by which TensorFlow finds a TPU, or None.

    A TPU in this machine shows as a device file and is called "local". Its
    driver is the package libtpu.
    """
    for variable in ("TPU_NAME", "COLAB_TPU_ADDR"):
        if os.environ.get(variable):
            return os.environ[variable]
    has_device = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
    if has_device and importlib.util.find_spec("libtpu"):
        return "local"
    return None


def _tpu_strategy(name):
    """Connects to a TPU, erases its memory, and returns its strategy."""
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
    if name != "local":
        tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


@contextlib.contextmanager
def _jax():
    """Opens the scope of data parallelism over all devices."""
    import jax

    if _is_one_of_several() and not jax.distributed.is_initialized():
        keras.distribution.initialize()
    devices = Devices(
        jax.device_count(), jax.process_count(), jax.process_index()
    )
    if devices.replicas == 1:
        yield devices
        return
    before = keras.distribution.distribution()
    # The input pipeline splits the data already, and Keras must not again.
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(auto_shard_dataset=False)
    )
    try:
        yield devices
    finally:
        keras.distribution.set_distribution(before)


@contextlib.contextmanager
def undistributed() -> Iterator[None]:
    """Makes variables on this process alone, as a context manager.

    Keras makes variables while it saves a model, which only one of several
    processes does. Under a distribution JAX would wait for ever for the other
    processes to make the same variables.

    Example:

    >>> with keras_nfnets.distribution.undistributed():
    ...     model.save("model.keras")
    """
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def _is_one_of_several():
    """Returns whether the environment says that there are other processes."""
    get = os.environ.get
    return bool(
        get("KERAS_DISTRIBUTION_JOB_ADDRESSES")
        or get("JAX_COORDINATOR_ADDRESS")
        or "," in get("TPU_WORKER_HOSTNAMES", "")
        or int(get("SLURM_STEP_NUM_TASKS", 1)) > 1
        or int(get("OMPI_COMM_WORLD_SIZE", 1)) > 1
    )
