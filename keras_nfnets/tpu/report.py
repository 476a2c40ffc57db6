"""Tables of a program that fits and of one that does not."""

import math

from rich.table import Table

from keras_nfnets.tpu.chips import device_of
from keras_nfnets.tpu.compiling import data_of


def parts_of(model, options, batch):
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
    values = sum(math.prod(shape) for shape, _ in data_of(options, batch))
    return parts | {"images and labels": 4 * values // device_of(options)[-1]}


def program_table(options, program, parts):
    """Returns the table of a program that fits; `parts` of its arguments."""
    memory, flops, bandwidth, devices = device_of(options)
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
        rows["all-reduces"] = _counted(program.all_reduces)
        rows["all-gathers"] = _counted(program.all_gathers)
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
    """Returns the rows as a table under the network and its settings."""
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


def _counted(sizes):
    return f"{len(sizes)}, {_bytes(sum(sizes))}" if sizes else "none"


def _bytes(size):
    return f"{size / 1e9:.3f} GB" if size >= 1e8 else f"{size / 1e6:.3f} MB"
