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
import importlib.util
import sys
from pathlib import Path

from rich.console import Console

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS.parent)]

from tpu import compiling, report  # noqa: E402
from tpu.chips import BATCH_MULTIPLE, TOPOLOGIES, device_of  # noqa: E402
from tpu.program import DoesNotFit  # noqa: E402


def main(argv=None):
    options = _arguments(argv)
    try:
        _check(options)
        compiling.set_environment(options.backend)
        model = compiling.build(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        with Console(stderr=True).status("compiling"):
            program = compiling.compile_for_tpu(model, options)
    except DoesNotFit as error:
        Console().print(report.failure_table(options, error))
        return 1
    parts = report.parts_of(model, options, program.batch)
    Console().print(report.program_table(options, program, parts))
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
    devices = device_of(options)[-1]
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
