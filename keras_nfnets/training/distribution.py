"""Finds the devices to train on, of this machine or a cluster."""

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
    """What a batch is shared among.

    Args:
        replicas: Integer, devices that train together, on all hosts. Defaults
            to `1`.
        hosts: Integer, processes that read data of their own. Defaults to
            `1`.
        host: Integer, which of them this is. Defaults to `0`.

    Example:

    >>> with keras_nfnets.distribution.scope() as devices:
    ...     devices.check_batch(256)
    """

    replicas: int = 1
    hosts: int = 1
    host: int = 0

    @property
    def kind(self) -> str:
        """What a replica runs on: `"TPU"`, `"GPU"` or `"CPU"`."""
        return _KIND[keras.backend.backend()]()

    @property
    def is_chief(self) -> bool:
        """Whether this is the process that writes files."""
        return self.host == 0

    def check_batch(self, batch_size: int) -> None:
        """Raises a ValueError unless all replicas get as many images.

        Args:
            batch_size: Integer, images per step on all replicas together.
        """
        if batch_size % self.replicas:
            raise ValueError(
                "`batch_size` must be divisible by the number of replicas. "
                f"Received: batch_size={batch_size} on {self.replicas} replicas"
            )


def _kind_on_tensorflow():
    import tensorflow as tf

    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    return next((k for k in ("TPU", "GPU") if k in kinds), "CPU")


def _kind_on_jax():
    import jax

    return jax.default_backend().upper()


def _kind_on_torch():
    import torch

    return "GPU" if torch.cuda.is_available() else "CPU"


_KIND = {
    "tensorflow": _kind_on_tensorflow,
    "jax": _kind_on_jax,
    "torch": _kind_on_torch,
}


@contextlib.contextmanager
def scope() -> Iterator[Devices]:
    """Picks the devices to train on; build and compile the model inside.

    - TensorFlow: `TPUStrategy` if there is a TPU (`TPU_NAME`, Colab's
      `COLAB_TPU_ADDR`, or one of this machine), `MirroredStrategy` if there
      are several GPUs, or several logical CPUs that the user made; else
      nothing.
    - JAX: `keras.distribution.DataParallel` over all devices, if there are
      several. Where variables of Keras (`KERAS_DISTRIBUTION_JOB_ADDRESSES`,
      `_NUM_PROCESSES`, `_PROCESS_ID`), of JAX (`JAX_COORDINATOR_ADDRESS`), of
      a TPU pod, Slurm or Open MPI say that this process is one of several, it
      joins the others, and the devices are those of all of them.
    - PyTorch: nothing, as Keras has no data parallelism there.

    On JAX each process reads its own part of a batch: give `host` and
    `hosts` to the input pipeline. What was run are virtual CPU devices, one
    and two processes; no TPU and no second GPU was at hand.

    Returns:
        A context manager that gives `Devices`.

    Raises:
        ValueError: If `TF_CONFIG` names several TensorFlow workers, which
            Keras 3 does not support.

    Example:

    >>> with keras_nfnets.distribution.scope() as devices:
    ...     model = keras_nfnets.NFNet("nfnet_f0")
    ...     model.compile(**recipe.compile_args(steps_per_epoch))
    """
    enter = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    with enter[keras.backend.backend()]() as devices:
        yield devices


@contextlib.contextmanager
def _torch():
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
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {})
    workers = [address for job in cluster.values() for address in job]
    if len(workers) > 1:
        raise ValueError(
            "`TF_CONFIG` must not name several workers: Keras 3 does not "
            "support MultiWorkerMirroredStrategy. KERAS_BACKEND=jax trains on "
            f"several hosts. Received: {workers}"
        )


def _tpu_name():
    """Returns what TensorFlow calls this machine's TPU, or None."""
    for variable in ("TPU_NAME", "COLAB_TPU_ADDR"):
        if os.environ.get(variable):
            return os.environ[variable]
    has_device = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
    if has_device and importlib.util.find_spec("libtpu"):
        return "local"
    return None


def _tpu_strategy(name):
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
    # The input pipeline gives each process its own part.
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(auto_shard_dataset=False)
    )
    try:
        yield devices
    finally:
        keras.distribution.set_distribution(before)


@contextlib.contextmanager
def undistributed() -> Iterator[None]:
    """Lets one of several processes make variables that the others do not.

    Keras makes some while it saves a model. JAX would wait for the other
    processes to put the same on their devices.

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
    get = os.environ.get
    return bool(
        get("KERAS_DISTRIBUTION_JOB_ADDRESSES")
        or get("JAX_COORDINATOR_ADDRESS")
        or "," in get("TPU_WORKER_HOSTNAMES", "")
        or int(get("SLURM_STEP_NUM_TASKS", 1)) > 1
        or int(get("OMPI_COMM_WORLD_SIZE", 1)) > 1
    )
