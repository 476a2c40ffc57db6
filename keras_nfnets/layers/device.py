"""Names the backend and the kind of device that a program will run on.

Keras has no function for this. The fastest operation differs from device to
device, and some operations exist on one only. So `convolution`, `convolve`,
`remat` and AGC ask this module while a program is traced. The answer decides
which operations the program has.
"""

import contextlib
import functools

import keras

# The kind of device that `tracing_for` named, or None for this machine's own.
_target = None


@contextlib.contextmanager
def tracing_for(kind):
    """Chooses operations for another kind of device, as a context manager.

    It serves programs that are compiled on this machine and run on another.

    Args:
        kind: String: `"cpu"`, `"gpu"` or `"tpu"`.

    Example:

    >>> with tracing_for("tpu"):
    ...     device()[1]
    'tpu'
    """
    global _target
    previous, _target = _target, kind
    try:
        yield
    finally:
        _target = previous


def device():
    """Returns the names of the backend and of the kind of device.

    Returns:
        Two strings: the backend's name, and `"cpu"`, `"gpu"`, `"tpu"` or, as
        always on PyTorch, `"unknown"`.

    Example:

    >>> backend, kind = device()
    """
    backend = keras.backend.backend()
    return backend, _target or _device_here(backend)


def on_tensorflow_cpu():
    """Returns whether TensorFlow will run its own kernels on a CPU.

    It is false for a program that XLA compiles, also on a CPU.
    """
    return device() == ("tensorflow", "cpu") and not compiled_by_xla()


def has_onednn():
    """Returns whether TensorFlow's CPU kernels are those of oneDNN for x86.

    TensorFlow has Eigen's kernels otherwise. It chooses oneDNN's on CPUs with
    AVX-512 VNNI or newer. On other CPUs it does so only if
    `TF_ENABLE_ONEDNN_OPTS=1` was set before TensorFlow was imported.
    """
    return on_tensorflow_cpu() and _onednn_here()


def compiled_by_xla():
    """Returns whether XLA will compile the graph that TensorFlow traces now.

    It always does for a TPU, and elsewhere under `jit_compile=True`.
    """
    import tensorflow as tf

    # TensorFlow has no public function for this, nor for `_onednn_here`.
    from tensorflow.python.ops.control_flow_util import (
        GraphOrParentsInXlaContext,
    )

    return GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


@functools.cache
def _onednn_here():
    """Returns whether TensorFlow uses oneDNN on this machine, an x86 one."""
    from tensorflow.python.util import _pywrap_util_port as port

    # On ARM TensorFlow has other oneDNN kernels, which were not measured.
    return port.IsX86Available() and port.IsMklEnabled()


@functools.cache
def _device_here(backend):
    """Returns the kind of device that a backend uses on this machine."""
    if backend == "tensorflow":
        import tensorflow as tf

        kinds = {d.device_type for d in tf.config.list_logical_devices()}
        return (kinds & {"GPU", "TPU"} or {"CPU"}).pop().lower()
    if backend == "jax":
        import jax

        return jax.default_backend()
    return "unknown"
