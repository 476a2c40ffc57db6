"""Runs the command `tpu-compile`, which compiles for a TPU that is not there.

Keras is imported after the compiler's environment is set.
"""

import importlib.util
import types

from rich.console import Console

from keras_nfnets.cli.status import SOME_FAILED
from keras_nfnets.tpu import compiling, report
from keras_nfnets.tpu.chips import TOPOLOGIES, device_of
from keras_nfnets.tpu.program import DoesNotFit


def tpu_compile(**given):
    """Prints whether a network's step fits into a TPU's memory.

    Args:
        **given: The arguments of the command line, by name: `variant`,
            `topology`, `batch`, `size`, `precision`, `backend`, `inference`,
            `remat`, `optimizer_state` and `largest_batch`.

    Returns:
        Integer, the exit status: 0 if the step fits, `SOME_FAILED` if not.

    Raises:
        ValueError: If an argument is wrong.
        ImportError: If the compiler, or the backend, is not installed.
    """
    options = types.SimpleNamespace(**given)
    _check(options)
    compiling.set_environment(options.backend)
    model = compiling.build(options)
    try:
        with Console(stderr=True).status("compiling"):
            program = compiling.compile_for_tpu(model, options)
    except DoesNotFit as error:
        Console().print(report.failure_table(options, error))
        return SOME_FAILED
    parts = report.parts_of(model, options, program.batch)
    Console().print(report.program_table(options, program, parts))
    return 0


def _check(options):
    """Raises an error for what cannot be compiled."""
    needed = {"jax", "libtpu", options.backend}
    missing = [n for n in sorted(needed) if not importlib.util.find_spec(n)]
    if missing:
        raise ImportError(
            f"{', '.join(missing)} must be installed. On Linux on x86-64: "
            f"pip install 'keras-nfnets[{options.backend},tpu-compile]'"
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
