"""Compiles a network's step for a TPU that is not there: does it fit?

    python tools/tpu_compile.py nfnet_f0 --topology v5e:1x1 --batch 32
    python tools/tpu_compile.py nfnet_f3 --topology v6e:2x2 --largest-batch

What is compiled is what `model.fit` runs: forward and backward pass, AGC, SGD
with Nesterov momentum and L2, EMA; with --inference, what `model.predict` runs.
The compiler is that of the `libtpu` wheel and needs no TPU. It takes half a
minute for a small network and minutes for a large one.

Exit status: 0 if the step fits, 1 if not, 2 if it cannot be tried.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import math
import os
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Of one chip, as published: GiB of memory, TFLOP/s in bfloat16, GB/s of memory,
# and how many cores the compiler sees, each with its share of these.
CHIPS = {
    "v3": (32, 123, 900, 2),
    "v4": (32, 275, 1228, 2),
    "v5e": (16, 197, 819, 1),
    "v5p": (95, 459, 2765, 1),
    "v6e": (32, 918, 1640, 1),
}
# Known to work. libtpu takes more of the kind, and has no list of them.
TOPOLOGIES = (
    *("v3:1x1", "v3:2x2", "v3:4x4", "v4:1x1x1", "v4:2x2x1", "v4:2x2x2"),
    *("v5e:1x1", "v5e:2x2", "v5e:2x4", "v5e:4x4", "v5p:1x1x1", "v5p:2x2x1"),
    *("v5p:2x2x2", "v6e:1x1", "v6e:2x2", "v6e:2x4", "v6e:4x4"),
)
# Between multiples of this, memory holds padding: a batch has rows of 8.
BATCH_MULTIPLE = 8
ITEM_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4}


@dataclasses.dataclass(frozen=True)
class Program:
    """What the compiler says of one device's program, in bytes and FLOP."""

    batch: int
    arguments: int
    temporaries: int
    peak: int
    flops: float
    accessed: float
    all_reduces: tuple = ()


class DoesNotFit(Exception):
    """Says how many bytes the program of a batch needs, and how many it has."""

    def __init__(self, batch, needed, available):
        super().__init__(batch, needed, available)
        self.batch, self.needed, self.available = batch, needed, available


def main(argv=None):
    options = _arguments(argv)
    try:
        _check(options)
        _set_environment(options.backend)
        model = _build(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        with Console(stderr=True).status("compiling"):
            program = _compile(model, options)
    except DoesNotFit as error:
        Console().print(failure_table(options, error))
        return 1
    parts = _parts(model, options, program.batch)
    Console().print(program_table(options, program, parts))
    return 0


def _check(options):
    needed = {"jax", "libtpu", options.backend}
    missing = [n for n in sorted(needed) if not importlib.util.find_spec(n)]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} must be installed. On Linux on x86-64: "
            f"pip install '.[{options.backend},tpu-compile]'"
        )
    if options.topology not in TOPOLOGIES:
        raise ValueError(
            f"`topology` must be one of {', '.join(TOPOLOGIES)}. "
            f"Received: topology={options.topology!r}"
        )
    devices = _device(options)[-1]
    if options.backend == "tensorflow" and devices > 1:
        raise ValueError(
            "`topology` must have one device with backend='tensorflow', which "
            "sums over TPUs only where it finds them. "
            f"Received: topology={options.topology!r} with {devices}"
        )
    if options.batch < 1 or options.batch % devices:
        raise ValueError(
            f"`batch` must be a positive multiple of the {devices} device(s). "
            f"Received: batch={options.batch}"
        )


def _set_environment(backend):
    """Says what Keras, JAX and libtpu read when they are imported."""
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


def _compile(model, options):
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
        print(f"batch {batch}: {'fits' if low == batch else 'does not fit'}")
        middle = 2 * low if high == math.inf else (low + high) // 2
        batch = middle // multiple * multiple
    if best is None:
        raise failure
    return best


def _build(options):
    """Returns the model as its user has it before `fit` or `predict`."""
    import keras

    import keras_nfnets
    from keras_nfnets.variants.plan import resolve_variant

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
        model = keras_nfnets.NFNet(
            variant,
            input_shape=(options.size, options.size, 3),
            remat=options.remat,
            name=name,
        )
    if not options.inference:
        optimizer = keras_nfnets.optimizers.SGD(use_ema=True)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        with scope:
            optimizer.build(model.trainable_variables)
    return model


def _program(model, options, devices, batch):
    import jax

    from keras_nfnets.layers.device import tracing_for

    try:
        with tracing_for("tpu"):
            executable = _EXECUTABLE[options.backend](
                model, options, devices, batch
            )
    except jax.errors.JaxRuntimeError as error:
        sizes = out_of_memory(str(error))
        if sizes is None:
            raise
        raise DoesNotFit(batch, *sizes) from None
    memory = executable.get_compiled_memory_stats()
    costs = executable.cost_analysis()
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
        all_reduces=all_reduces(executable.hlo_modules()[0].to_string()),
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
    data = tuple(jax.ShapeDtypeStruct(*d) for d in _data(options, batch))
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
    data = [tf.TensorSpec(*d) for d in _data(options, batch)]
    generate = traced.experimental_get_compiler_ir(*data)
    with make_ir_context() as context:
        context.allow_unregistered_dialects = True
        module = without_copies(generate(stage="stablehlo"))
        return devices[0].client.compile(
            ir.Module.parse(module),
            executable_devices=xla_client.DeviceList(tuple(devices)),
        )


_EXECUTABLE = {"jax": _jax_executable, "tensorflow": _tensorflow_executable}


def _data(options, batch):
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


def all_reduces(text):
    """Returns the bytes of each all-reduce in a compiled module's text."""
    # An asynchronous one has a start, which counts, and a done.
    operations = re.findall(r" = (.*?) all-reduce(?:-start)?\(", text)
    return tuple(
        sum(
            ITEM_BYTES[dtype] * math.prod(map(int, re.findall(r"\d+", shape)))
            for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
        )
        for shapes in operations
    )


def out_of_memory(message):
    """Returns the bytes of HBM that XLA says it needs and has, or `None`."""
    found = re.search(
        r"([\d.]+)([KMG]?)\)? (?:of|exceeds available HBM) \(?([\d.]+)([KMG]?)",
        message,
    )
    is_hbm = "RESOURCE_EXHAUSTED" in message and "hbm" in message.lower()
    if not (is_hbm and found):
        return None
    units = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
    needed, unit, available, other_unit = found.groups()
    return float(needed) * units[unit], float(available) * units[other_unit]


def _parts(model, options, batch):
    """Returns how many bytes of a device's arguments are what."""
    if not options.optimizer_state:
        return {}
    state = [] if options.inference else model.optimizer.variables
    groups = {
        "weights": model.variables,
        "momentum": [v for v in state if v.path.endswith("_momentum")],
        "EMA": [v for v in state if v.path.endswith("_average")],
    }
    parts = {
        name: sum(4 * math.prod(v.shape) for v in variables)
        for name, variables in groups.items()
    }
    values = sum(math.prod(shape) for shape, _ in _data(options, batch))
    return parts | {"images and labels": 4 * values // _device(options)[-1]}


def program_table(options, program, parts):
    """Returns the table of a program that fits; `parts` of its arguments."""
    memory, flops, bandwidth, devices = _device(options)
    if parts:
        parts = parts | {"padding": program.arguments - sum(parts.values())}
    times = {
        "computation": program.flops / flops,
        "memory": program.accessed / bandwidth,
    }
    limit = max(times, key=times.get)
    peak, share = _bytes(program.peak), f"{program.peak / memory:.1%}"
    rows = {
        "fits": "yes",
        "arguments": _bytes(program.arguments),
        **{f"  {name}": _bytes(size) for name, size in parts.items()},
        "temporaries": _bytes(program.temporaries),
        "peak": f"{peak}, {share} of {_bytes(memory)}",
        "computation": f"{program.flops / 1e12:.4g} TFLOP",
        "accessed": _bytes(program.accessed),
        "time at peak rates": f"{times[limit] * 1e3:.4g} ms or more, "
        f"limited by {limit}",
    }
    if devices > 1:
        sizes = program.all_reduces
        rows["all-reduces"] = f"{len(sizes)}, {_bytes(sum(sizes))}"
    table = _table(options, program.batch, rows)
    table.caption += " The time is a bound, not a measurement."
    return table


def failure_table(options, error):
    """Returns the table of a program that does not fit."""
    rows = {
        "fits": f"no, {_bytes(error.needed - error.available)} too much",
        "needed": _bytes(error.needed),
        "available to a program": _bytes(error.available),
    }
    return _table(options, error.batch, rows)


def _table(options, batch, rows):
    step = "inference" if options.inference else "training step"
    remat = ", remat" if options.remat else ""
    table = Table(
        options.topology,
        f"{options.precision}, {options.backend}{remat}",
        title=f"{options.variant}, {step}, batch {batch}, {options.size} px",
        caption="Per device, 1 GB = 1e9 bytes.",
    )
    for row in rows.items():
        table.add_row(*row)
    return table


def _device(options):
    """Returns a device's bytes, FLOP/s and bytes/s, and how many there are."""
    name, _, shape = options.topology.partition(":")
    memory, flops, bandwidth, cores = CHIPS[name]
    devices = cores * math.prod(map(int, shape.split("x")))
    per_core = memory * 2**30, flops * 1e12, bandwidth * 1e9
    return *(value / cores for value in per_core), devices


def _bytes(size):
    return f"{size / 1e9:.3f} GB" if size >= 1e8 else f"{size / 1e6:.3f} MB"


def _arguments(argv):
    first, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=first,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=rest,
    )
    add = parser.add_argument
    add("variant", help="a key of VARIANTS")
    add("--topology", default="v5e:1x1", help="default: v5e:1x1")
    add("--batch", type=int, default=32, help="over all chips; default: 32")
    add("--size", type=int, help="pixels; default: the variant's")
    add("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    add("--backend", choices=("jax", "tensorflow"), default="jax")
    add("--inference", action="store_true", help="not the training step")
    add("--remat", action="store_true", help="NFNet(..., remat=True)")
    state = "list what the arguments hold: weights, momentum, EMA, batch"
    add("--optimizer-state", action="store_true", help=state)
    search = f"search for it in steps of {BATCH_MULTIPLE} per device"
    add("--largest-batch", action="store_true", help=search)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
