"""Converts weights between the papers' files, timm's and ours.

    python tools/convert_weights.py F0_haiku.npz f0.weights.h5 \\
        --variant nfnet_f0
    python tools/convert_weights.py f0.weights.h5 f0.safetensors \\
        --variant nfnet_f0 --to timm

It is `keras-nfnets convert`, from a checkout that is not installed.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from keras_nfnets import cli  # noqa: E402 (the backend comes first)


def main(arguments):
    """Runs the command, and returns its exit status."""
    return cli.main(["convert", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
