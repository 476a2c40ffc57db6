"""Grouped 3x3 convolutions on JAX's device: native, split, or as one dense.

KERAS_BACKEND=jax python benchmarks/gpu_groups.py

Each is timed forward, and forward with both gradients, in bfloat16. "Split" is
what `convolve.conv` does on a CPU, with groups that share dense convolutions of
at least this width.
"""

import functools
import statistics
import time

import jax
import tables
from jax import numpy as jnp

from keras_nfnets.layers import split_groups

# Batch, pixels, channels, groups: the 3x3s of NFNet-F0 at 192 px, then as
# narrow as those of timm's light variants and of NF-RegNets.
SHAPES = (
    (256, 24, 256, 2),
    (256, 12, 768, 6),
    (256, 6, 768, 6),
    (256, 24, 256, 4),
    (256, 12, 384, 6),
    (256, 24, 232, 29),
)
COLUMNS = ("batch", "px", "channels", "groups")
STEPS = 20


def native(inputs, kernel, groups):
    return jax.lax.conv_general_dilated(
        inputs,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def split(inputs, kernel, groups, width):
    split_groups.DENSE_WIDTH = width
    parts = split_groups.dense_parts(inputs, kernel, groups)
    return jnp.concatenate([native(x, w, 1) for x, w in parts], axis=-1)


WAYS = {
    "native": native,
    "split, 64 wide": functools.partial(split, width=64),
    "split, 128 wide": functools.partial(split, width=128),
    "one dense": lambda inputs, kernel, groups: split(
        inputs, kernel, groups, inputs.shape[-1]
    ),
}


def programs(way, groups):
    """Returns the forward pass, and that with both gradients."""
    forward = functools.partial(way, groups=groups)

    def both(inputs, kernel, upstream):
        outputs, gradients = jax.vjp(forward, inputs, kernel)
        return outputs, gradients(upstream)

    return {"forward": jax.jit(forward), "all": jax.jit(both)}


def draw(batch, pixels, channels, groups):
    """Returns inputs, kernel and upstream gradient."""
    shape = (batch, pixels, pixels, channels)
    shapes = (shape, (3, 3, channels // groups, channels), shape)
    keys = jax.random.split(jax.random.key(0), 3)
    return [
        jax.random.normal(key, shape, jnp.bfloat16)
        for key, shape in zip(keys, shapes, strict=True)
    ]


def milliseconds(program, arguments):
    start = time.perf_counter()
    for _ in range(STEPS):
        result = program(*arguments)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / STEPS * 1e3


def measure(shape, rounds):
    """Returns the cells of one line."""
    inputs, kernel, upstream = draw(*shape)
    arguments = {"forward": (inputs, kernel), "all": (inputs, kernel, upstream)}
    timed = {
        (name, what): (program, arguments[what])
        for name, way in WAYS.items()
        for what, program in programs(way, shape[-1]).items()
    }
    for entry in timed.values():
        milliseconds(*entry)  # compiles
    taken = {key: [] for key in timed}
    for _ in range(rounds):
        for key, entry in timed.items():
            taken[key].append(milliseconds(*entry))
    medians = {key: statistics.median(took) for key, took in taken.items()}
    return [
        *map(str, shape),
        *(
            f"{medians[name, 'forward']:.3f}, {medians[name, 'all']:.3f}"
            for name in WAYS
        ),
    ]


def main():
    options = tables.parser(__doc__, rounds=5).parse_args()
    rows = [measure(shape, options.rounds) for shape in SHAPES]
    lines = [
        f"Milliseconds forward, and with both gradients, on "
        f"{jax.devices()[0].device_kind}.",
        *tables.where_and_when(options.rounds, STEPS),
        "",
        *tables.table((*COLUMNS, *WAYS), rows),
    ]
    tables.publish(lines, options.out)


if __name__ == "__main__":
    main()
