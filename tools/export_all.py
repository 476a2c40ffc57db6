"""Writes every network of the table as a file and compares it with the model.

python tools/export_all.py [--format onnx ...] [--size 64] [--variants NAME ...]
                           [--most 100]

The weights are fresh ones, with gains and biases that do something. Prints a
line for each network and format, and ends with the status 1 if one failed. A
format whose packages are not installed is left out.
"""

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from keras_nfnets import VARIANTS, NFNet, complexity
from keras_nfnets.export import export
from keras_nfnets.options import EXPORTS


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--format",
        nargs="+",
        choices=EXPORTS,
        default=list(EXPORTS),
        help="(all)",
    )
    parser.add_argument("--size", type=int, default=64, help="(64)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS)
    parser.add_argument(
        "--most", type=float, help="only networks of so many M parameters"
    )
    arguments = parser.parse_args()
    names = arguments.variants or sorted(VARIANTS, key=parameters)
    if arguments.most is not None:
        names = [n for n in names if parameters(n) <= 1e6 * arguments.most]
    failed = 0
    for name in names:
        model = randomized(name)
        for kind in arguments.format:
            failed += not try_export(name, model, kind, arguments.size)
        del model
        keras.backend.clear_session()
        gc.collect()
    return failed > 0


def parameters(name):
    return sum(part.parameters for part in complexity.complexity(name))


def randomized(name):
    """Returns a fresh network in which no branch is multiplied by zero."""
    model = NFNet(name, classifier_activation=None)
    draw = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("gain", "bias"):
            values = draw.normal(0.7, 0.2, variable.shape)
            variable.assign(values if variable.name == "gain" else 0.1 * values)
    kernel = model.get_layer("head").classifier.kernel
    kernel.assign(draw.normal(0, 0.05, kernel.shape))
    return model


def try_export(name, model, kind, size):
    """Prints how the export went, and returns whether it did."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, EXPORTS[kind])
        try:
            export(model, path, kind, size=size)
        except ImportError as error:
            print(f"{name}\t{kind}\tleft out: {error}", flush=True)
            return True
        except (RuntimeError, ValueError) as error:
            print(f"{name}\t{kind}\tFAILED: {error}", flush=True)
            return False
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        share = sum(file.stat().st_size for file in files) / (
            4 * model.count_params()
        )
    seconds = time.perf_counter() - started
    line = f"{share:.3f} of the weights\t{seconds:.0f} s"
    print(f"{name}\t{kind}\t{line}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
