"""The chips that the compiler knows: their sizes, rates and topologies."""

import math

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


def device_of(options):
    """Returns a device's bytes, FLOP/s and bytes/s, and how many there are."""
    name, _, shape = options.topology.partition(":")
    memory, flops, bandwidth, cores = CHIPS[name]
    devices = cores * math.prod(map(int, shape.split("x")))
    per_core = memory * 2**30, flops * 1e12, bandwidth * 1e9
    return *(value / cores for value in per_core), devices
