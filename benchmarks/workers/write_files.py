"""Writes a network of ours for ONNX Runtime, OpenVINO and LiteRT.

python benchmarks/workers/write_files.py VARIANT SIZE FOLDER [FILE ...]
"""

import sys
from pathlib import Path

import numpy as np

from keras_nfnets import NFNet
from keras_nfnets.export import export
from keras_nfnets.export.comparison import pixels

# The format and the precision of each file.
FILES = {
    "ours.onnx": ("onnx", "float32"),
    "ours_int8.onnx": ("onnx", "int8"),
    "ours.tflite": ("litert", "float32"),
    "ours_int8.tflite": ("litert", "int8"),
}


def main(name, size, folder, *wanted):
    size = int(size)
    model = NFNet(name, input_shape=(size, size, 3))
    draw = np.random.default_rng(0)
    # As the network takes them: timm's file does not normalize either.
    images = (pixels((4, size, size, 3), draw) - 127.5) / 64
    randomize(model, images)
    for file in wanted or FILES:
        kind, precision = FILES[file]
        calibrate = images if precision == "int8" else None
        path = Path(folder, file)
        export(model, path, kind, precision, size, calibrate)


def randomize(model, images):
    """Gives gains and the classifier, which start as zeros, other values.

    Logits get a standard deviation of 2: with a thousand equal probabilities,
    8-bit integers would have nothing to tell apart.
    """
    draw = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name == "gain":
            variable.assign(draw.normal(0.7, 0.2, variable.shape))
    kernel = model.get_layer("head").classifier.kernel
    drawn = draw.normal(size=kernel.shape)
    kernel.assign(drawn)
    logits = np.log(model.predict_on_batch(images))
    kernel.assign(drawn * 2 / logits.std())


if __name__ == "__main__":
    main(*sys.argv[1:])
