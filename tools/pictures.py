"""Draws the pictures of the docs, in a minute or two.

    python tools/pictures.py            all of them, into docs/
    python tools/pictures.py agc_monitor --out somewhere

`agc_monitor.png` is of a small training on digits, `signal_propagation.png`
of ResNet50 before and after surgery.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import keras  # noqa: E402 (the backend comes first)
import numpy as np  # noqa: E402

import keras_nfnets  # noqa: E402
from keras_nfnets import surgery  # noqa: E402
from keras_nfnets.callbacks import (  # noqa: E402
    AGCMonitor,
    signal_propagation,
)
from keras_nfnets.callbacks.signal_picture import (  # noqa: E402
    draw_signals,
    standard_normal,
)
from keras_nfnets.layers import SkipGain  # noqa: E402


def agc_monitor(path):
    """As the text beside it in docs/AGC.md says."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.repeat((images - 4.9) / 6.0, 3, 1).reshape(-1, 8, 8, 3)
    images = images.repeat(4, 1).repeat(4, 2).astype("float32")
    model = keras_nfnets.NFNet(
        "nfnet_pico", input_shape=(32, 32, 3), classes=10
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        agc=keras_nfnets.AGC(
            0.04, exclude=["skip_gain", r"head/classifier/kernel"]
        ),
    )
    monitor = AGCMonitor(picture=path)
    model.fit(images, labels, 64, epochs=8, callbacks=[monitor], verbose=2)


def resnet_before_and_after(path):
    """Fresh weights, 16 standard-normal images of 128 pixels a side.

    The skip gains are opened, since at zero a fresh network is its shortcuts
    alone.
    """
    model = keras.applications.ResNet50(weights=None, input_shape=(128, 128, 3))
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


PICTURES = {
    "agc_monitor": agc_monitor,
    "signal_propagation": resnet_before_and_after,
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="name", help=str([*PICTURES])
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args(arguments)
    for name in options.names or PICTURES:
        if name not in PICTURES:
            parser.error(f"no picture {name!r}; there are {[*PICTURES]}")
        keras.utils.set_random_seed(0)
        PICTURES[name](options.out / f"{name}.png")


if __name__ == "__main__":
    main()
