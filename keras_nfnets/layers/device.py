"""Tells the backend and the kind of device that a program is for.

Keras does not say. What runs fast on one is slow on another, or is not there
at all, so `convolve`, `standardization` and `remat` ask here.
"""

import contextlib
import functools

import keras

# The kind of device to trace for, where it is not one of this machine's.
_target = None


@contextlib.contextmanager
def tracing_for(kind):
    """While open, operations are chosen for this kind of device.

    For programs that are compiled here and run elsewhere.

    Args:
        kind: String, such as `"tpu"`.
    """
    global _target
    previous, _target = _target, kind
    try:
        yield
    finally:
        _target = previous


def device():
    """Returns the names of the backend and of the kind of device.

    The second is `"cpu"`, `"gpu"`, `"tpu"` or `"unknown"`.
    """
    backend = keras.backend.backend()
    return backend, _target or _device_here(backend)


def on_tensorflow_cpu():
    """Whether TensorFlow runs its own kernels on a CPU, rather than XLA's."""
    return device() == ("tensorflow", "cpu") and not compiled_by_xla()


def has_onednn():
    """Whether the kernels of `on_tensorflow_cpu` are those of oneDNN for x86.

    TensorFlow chooses them by itself on CPUs with AVX-512 VNNI or newer, on
    others where `TF_ENABLE_ONEDNN_OPTS=1` was set before it was imported.
    """
    return on_tensorflow_cpu() and _onednn_here()


def compiled_by_xla():
    """Whether what TensorFlow traces now is for XLA, as it is for a TPU."""
    import tensorflow as tf

    # TensorFlow tells neither this nor the next under a public name.
    from tensorflow.python.ops.control_flow_util import (
        GraphOrParentsInXlaContext,
    )

    return GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


@functools.cache
def _onednn_here():
    from tensorflow.python.util import _pywrap_util_port as port

    # Elsewhere its kernels are others, and were not measured.
    return port.IsX86Available() and port.IsMklEnabled()


@functools.cache
def _device_here(backend):
    """Returns the kind of device that a backend has here."""
    if backend == "tensorflow":
        import tensorflow as tf

        kinds = {d.device_type for d in tf.config.list_logical_devices()}
        return (kinds & {"GPU", "TPU"} or {"CPU"}).pop().lower()
    if backend == "jax":
        import jax

        return jax.default_backend()
    return "unknown"
