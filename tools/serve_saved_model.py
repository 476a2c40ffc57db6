"""Predicts on image files with a SavedModel and TensorFlow, nothing else.

python tools/serve_saved_model.py runs/demo/saved_model IMAGE...
"""

import sys

import tensorflow as tf


def read(path, height, width, channels):
    image = tf.io.decode_image(
        tf.io.read_file(path), channels, expand_animations=False
    )
    return tf.image.resize(image, (height, width), antialias=True)


def main(folder, *paths):
    model = tf.saved_model.load(folder)
    # The signature knows the size that the model was trained for.
    signature = model.signatures["serving_default"]
    (inputs,) = signature.structured_input_signature[1].values()
    images = tf.stack([read(path, *inputs.shape[1:]) for path in paths])
    for path, row in zip(paths, model.serve(images).numpy(), strict=True):
        print(f"{path}\t{row.argmax()}\t{row.max():.4f}")
    if "keras_nfnets" in sys.modules:
        sys.exit("keras_nfnets was imported")


if __name__ == "__main__":
    main(*sys.argv[1:])
