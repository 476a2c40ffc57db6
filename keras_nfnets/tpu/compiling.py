"""Compiles the step of a model with libtpu, at one batch or the largest."""

import contextlib
import math
import os
import re
import sys

from rich.console import Console

from keras_nfnets.tpu.chips import BATCH_MULTIPLE
from keras_nfnets.tpu.program import (
    DoesNotFit,
    Program,
    all_gathers,
    all_reduces,
    out_of_memory,
)
from keras_nfnets.variants.plan import resolve_variant


def set_environment(backend):
    """Says what Keras, JAX and libtpu read when they are imported.

    Args:
        backend: String, `"jax"` or `"tensorflow"`.

    Raises:
        ValueError: If Keras is imported already, on another backend.
    """
    imported = sys.modules.get("keras")
    if imported and imported.backend.backend() != backend:
        raise ValueError(
            "`backend` must be Keras's, which is imported already: "
            f"{imported.backend.backend()!r}. Received: backend={backend!r}"
        )
    # libtpu ends the process at a flag of another compiler.
    os.environ.pop("XLA_FLAGS", None)
    os.environ["KERAS_BACKEND"] = backend
    os.environ["JAX_PLATFORMS"] = "cpu"  # what is here, beside the compiler
    for name, value in dict(
        TF_CPP_MIN_LOG_LEVEL="3",
        # This machine is none of a TPU's, and another compilation may run.
        TPU_SKIP_MDS_QUERY="1",
        TPU_ACCELERATOR_TYPE="v5litepod-1",
        TPU_WORKER_HOSTNAMES="localhost",
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",
    ).items():
        os.environ.setdefault(name, value)


def build(options):
    """Returns the model as its user has it before `fit` or `predict`."""
    import keras

    from keras_nfnets.models.nfnet import NFNet
    from keras_nfnets.training.optimizers import SGD

    variant, name = resolve_variant(options.variant)
    if options.size is None:
        train_size, test_size = variant.train_size, variant.test_size
        options.size = test_size if options.inference else train_size
    policy = "mixed_bfloat16" if options.precision == "bfloat16" else "float32"
    keras.mixed_precision.set_global_policy(policy)
    scope = contextlib.nullcontext()
    if options.backend == "jax":  # needs the shapes of the weights only
        scope = keras.StatelessScope(initialize_variables=False)
    with scope:
        model = NFNet(
            variant,
            input_shape=(options.size, options.size, 3),
            remat=options.remat,
            name=name,
        )
    if not options.inference:
        optimizer = SGD(use_ema=True)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        with scope:
            optimizer.build(model.trainable_variables)
    return model


def compile_for_tpu(model, options):
    """Returns the program of the batch given or searched for."""
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(
        platform="tpu", topology_name=options.topology
    ).devices

    def compile_batch(batch):
        return _program(model, options, devices, batch)

    if not options.largest_batch:
        return compile_batch(options.batch)
    multiple = BATCH_MULTIPLE * len(devices)
    return largest_batch(compile_batch, options.batch, multiple)


def largest_batch(compile_batch, start, multiple):
    """Returns the program of the largest batch that fits, of all multiples.

    Doubles the batch until it does not fit, then bisects. `compile_batch`
    returns a `Program` or raises `DoesNotFit`, and so does this.
    """
    best, failure = None, None
    low, high = 0, math.inf
    batch = max(start // multiple, 1) * multiple
    while high - low > multiple:
        try:
            best, low = compile_batch(batch), batch
        except DoesNotFit as error:
            failure, high = error, batch
        found = "fits" if low == batch else "does not fit"
        Console(highlight=False).print(f"batch {batch}: {found}")
        middle = 2 * low if high == math.inf else (low + high) // 2
        batch = middle // multiple * multiple
    if best is None:
        raise failure
    return best


def _program(model, options, devices, batch):
    """Compiles a step for a batch, or raises `DoesNotFit`."""
    import jax

    from keras_nfnets.layers.device import tracing_for

    try:
        with tracing_for("tpu"):
            executable = EXECUTABLE[options.backend](
                model, options, devices, batch
            )
    except jax.errors.JaxRuntimeError as error:
        sizes = out_of_memory(str(error))
        if sizes is None:
            raise
        raise DoesNotFit(batch, *sizes) from None
    memory = executable.get_compiled_memory_stats()
    costs = executable.cost_analysis()
    text = executable.hlo_modules()[0].to_string()
    return Program(
        batch=batch,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        peak=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        flops=costs["flops"],
        accessed=costs["bytes accessed"],
        all_reduces=all_reduces(text),
        all_gathers=all_gathers(text),
    )


def _jax_executable(model, options, devices, batch):
    """Compiles Keras's stateless step, the batch split over the devices."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(devices), ("batch",))
    whole = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("batch"))
    step = model.predict_step if options.inference else model.train_step
    groups = [model.trainable_variables, model.non_trainable_variables]
    if not options.inference:
        groups += [model.optimizer.variables, model.metrics_variables]
    state = tuple(
        [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in group]
        for group in groups
    )
    data = tuple(jax.ShapeDtypeStruct(*d) for d in data_of(options, batch))
    jitted = jax.jit(
        step,
        donate_argnums=() if options.inference else 0,
        in_shardings=(whole, split),
        out_shardings=(split if options.inference else whole, whole),
    )
    return jitted.lower(state, data).compile().runtime_executable()


def _tensorflow_executable(model, options, devices, batch):
    """Compiles what `tf.function` makes of Keras's step, on one device."""
    import tensorflow as tf
    from jax.interpreters.mlir import make_ir_context
    from jaxlib import xla_client
    from jaxlib.mlir import ir

    step = model.predict_step if options.inference else model.train_step
    traced = tf.function(lambda *data: step(data), jit_compile=True)
    data = [tf.TensorSpec(*d) for d in data_of(options, batch)]
    generate = traced.experimental_get_compiler_ir(*data)
    with make_ir_context() as context:
        context.allow_unregistered_dialects = True
        module = without_copies(generate(stage="stablehlo"))
        return devices[0].client.compile(
            ir.Module.parse(module),
            executable_devices=xla_client.DeviceList(tuple(devices)),
        )


EXECUTABLE = {"jax": _jax_executable, "tensorflow": _tensorflow_executable}


def data_of(options, batch):
    """Returns shape and dtype of images and labels."""
    images = (batch, options.size, options.size, 3)
    return (images, "float32"), ((batch,), "int32")


def without_copies(module):
    """Returns TensorFlow's StableHLO with each copy as a reshape to its shape.

    The copies are of another dialect, which JAX reads and does not compile.
    """
    return re.sub(
        r"mhlo\.copy (%\w+) : (tensor<[^>]*>)",
        r"stablehlo.reshape \1 : (\2) -> \2",
        module,
    )
