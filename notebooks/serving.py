# %% [markdown]
# # Export and serve
#
# Export one network in every format, compare sizes and speeds, send the bytes
# of an image to a SavedModel, and run the webcam demo on a film. Two to three
# minutes on two CPU cores.

# %%
# On Colab (with a CPU or a GPU) this installs the library.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data,openvino,litert] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for three formats and a shorter film

# %% [markdown]
# ## A trained run
#
# The cells call the command line: this is what
# `keras-nfnets train --recipe nfnet_pico --data digits --out run` does.

# %%
import logging
import os

logging.disable(logging.WARNING)  # what runtimes say while they convert
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from keras_nfnets.cli import main as keras_nfnets_command

arguments = "train --recipe nfnet_pico --data digits --out run --overwrite"
epochs = "1" if QUICK else "6"
status = keras_nfnets_command([*arguments.split(), "--epochs", epochs])
if status:
    raise RuntimeError("the message above says what is missing")

# %% [markdown]
# ## Every format
#
# `keras-nfnets export run --format onnx` and so on. Each file is run in its
# runtime, and kept only if it returns what the model returns. For a runtime
# that is not installed, a message names the extra that installs it.

# %%
FORMATS = {
    "saved_model": [],
    "keras": [],
    "onnx": [],
    "onnx int8": ["--precision", "int8", "--calibrate", "digits"],
    "openvino": [],
    "litert": [],
}
os.makedirs("files", exist_ok=True)
written = {}
for row, options in list(FORMATS.items())[: 3 if QUICK else None]:
    kind = row.partition(" ")[0]
    suffix = {"saved_model": "", "openvino": ".xml", "litert": ".tflite"}
    path = "files/" + row.replace(" ", "_") + suffix.get(kind, f".{kind}")
    command = ["export", "run", "--format", kind, "--out", path, *options]
    if keras_nfnets_command([*command, "--overwrite"]) == 0:
        written[row] = path

# %% [markdown]
# ## Speed and size
#
# One image at a time, with its preparation; the best of fifty. The machine did
# other work too when the numbers below were taken: yours will differ.

# %%
import pathlib
import time

import keras

import keras_nfnets

digits = keras_nfnets.data.digits(size=32)
image = digits.test_images[0]


def size_of(path):
    path = pathlib.Path(path)
    same_name = path.parent.glob(f"{path.stem}.*")  # OpenVINO writes two
    files = path.rglob("*") if path.is_dir() else same_name
    return sum(file.stat().st_size for file in files if file.is_file())


def milliseconds(classifier, repeats=5 if QUICK else 50):
    classifier.classify(image)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        classifier.classify(image)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


print(f"{'format':12} {'size':>8} {'an image':>10}")
for row, path in written.items():
    classifier = keras_nfnets.Classifier(path)
    size, latency = size_of(path) / 1e6, milliseconds(classifier)
    print(f"{row:12} {size:5.2f} MB {latency:7.2f} ms")

# %% [markdown]
# ## A server gets image bytes
#
# The SavedModel decodes, resizes and crops as `keras-nfnets predict` does.
# [Export and serving](../docs/serving.md) has the requests for TensorFlow
# Serving.

# %%
import tensorflow as tf

keras.utils.save_img("digit.png", image, scale=False)
served = tf.saved_model.load(written["saved_model"])
encoded = tf.constant([pathlib.Path("digit.png").read_bytes()])
answer = served.signatures["classify"](encoded=encoded)
print(answer["classes"][0, :3].numpy(), answer["probabilities"][0, :3].numpy())

# %% [markdown]
# ## A webcam, or a film
#
# `keras-nfnets demo --source 0 --model run` names what a camera sees. Here a
# film of digits takes its place, and the result goes into another film, whose
# last frame is shown.

# %%
if importlib.util.find_spec("cv2"):
    import cv2
    import matplotlib.pyplot as plt
    import numpy as np

    film = cv2.VideoWriter(
        "digits.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 10, (320, 320)
    )
    for grey in digits.test_images[: 5 if QUICK else 40]:
        frame = cv2.resize(grey.astype(np.uint8), (320, 320))
        film.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    film.release()
    command = (
        "demo --source digits.mp4 --model run --save named.mp4 --no-window"
    )
    keras_nfnets_command(command.split())
    named = cv2.VideoCapture("named.mp4")
    named.set(cv2.CAP_PROP_POS_FRAMES, named.get(cv2.CAP_PROP_FRAME_COUNT) - 1)
    _, frame = named.read()
    plt.imshow(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    plt.axis("off")
else:
    print("This needs OpenCV: pip install 'keras-nfnets[webcam]'")
