"""A compiled program: its sizes, read from what the compiler says."""

import dataclasses
import math
import re

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
    all_gathers: tuple = ()


class DoesNotFit(Exception):
    """Says how many bytes the program of a batch needs, and how many it has."""

    def __init__(self, batch, needed, available):
        super().__init__(batch, needed, available)
        self.batch, self.needed, self.available = batch, needed, available


def all_reduces(text):
    """Returns the bytes of each all-reduce in a compiled module's text."""
    return tuple(sum(sizes) for _, sizes in _collectives("all-reduce", text))


def all_gathers(text):
    """Returns the bytes that each all-gather in a compiled module gives."""
    # The result of a start is what goes in and then what comes out.
    return tuple(
        sum(sizes[len(sizes) // 2 :] if start else sizes)
        for start, sizes in _collectives("all-gather", text)
    )


def _collectives(name, text):
    """Yields whether each is a start, and the bytes of its arrays.

    An asynchronous one has a start, which counts, and a done.
    """
    for shapes, start in re.findall(rf" = (.*?) {name}(-start)?\(", text):
        arrays = re.findall(r"(\w+)\[([\d,]*)\]", shapes)
        yield (
            bool(start),
            [
                ITEM_BYTES[dtype]
                * math.prod(map(int, re.findall(r"\d+", shape)))
                for dtype, shape in arrays
            ],
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
