"""Compiles a network's step for a TPU that is not there: does it fit?

    python tools/tpu_compile.py nfnet_f0 --topology v5e:1x1 --batch 32
    python tools/tpu_compile.py nfnet_f3 --topology v6e:2x2 --largest-batch

It is `keras-nfnets tpu-compile`, from a checkout that is not installed.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(arguments):
    """Runs the command, and returns its exit status.

    It needs a process that has not imported Keras, which the package imports
    everywhere but in its own command.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-m", "keras_nfnets", "tpu-compile", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
