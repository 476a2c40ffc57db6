"""Draws the signal of ResNet50 before and after surgery.

    python tools/signal_propagation.py docs/signal_propagation.png

Fresh weights, 16 standard-normal images of 128 pixels a side. The skip gains
are opened, since at zero a fresh network is its shortcuts alone.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import keras  # noqa: E402 (the backend comes first)

from keras_nfnets import surgery  # noqa: E402
from keras_nfnets.callbacks import signal_propagation  # noqa: E402
from keras_nfnets.callbacks.signal_picture import (  # noqa: E402
    draw_signals,
    standard_normal,
)
from keras_nfnets.layers import SkipGain  # noqa: E402

SHAPE = (128, 128, 3)


def main(path):
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, input_shape=SHAPE)
    x = standard_normal(model)
    free, report = surgery.normalizer_free(model)
    for layer in free.layers:
        if isinstance(layer, SkipGain):
            layer.gain.assign(1.0)
    report.print(changed_only=True)
    curves = {
        "batch normalization": signal_propagation(model, x, training=True),
        "batch normalization left out": signal_propagation(model, x),
        "normalizer-free": signal_propagation(free, x),
    }
    draw_signals(curves, path)


if __name__ == "__main__":
    main(sys.argv[1])
