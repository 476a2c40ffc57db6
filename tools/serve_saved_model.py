"""Classifies image files with a SavedModel and TensorFlow, nothing else.

python tools/serve_saved_model.py runs/demo/saved_model IMAGE...
"""

import pathlib
import sys

import tensorflow as tf


def main(folder, *paths):
    # The signature does not keep the model alive by itself.
    model = tf.saved_model.load(folder)
    serve = model.signatures["serve_images"]
    encoded = [pathlib.Path(path).read_bytes() for path in paths]
    answer = serve(encoded=tf.constant(encoded, tf.string))
    for path, name, row in zip(
        paths,
        answer["classes"].numpy(),
        answer["probabilities"].numpy(),
        strict=True,
    ):
        print(f"{path}\t{name.decode()}\t{row.max():.4f}")
    if "keras_nfnets" in sys.modules:
        sys.exit("keras_nfnets was imported")


if __name__ == "__main__":
    main(*sys.argv[1:])
