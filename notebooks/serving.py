# %% [markdown]
# # Export and serve
#
# One network in every format, compared in its runtime, with its size and speed
# here; image bytes to a SavedModel; a film through the webcam demo. Two minutes
# on two CPU cores.

# %%
# On Colab this installs the library; elsewhere it is there already.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data,onnx,webcam] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for fewer repeats and a shorter film

# %% [markdown]
# ## A trained run

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from keras_nfnets.cli import main as keras_nfnets_command

arguments = "train --recipe nfnet_pico --data digits --out run --overwrite"
epochs = "1" if QUICK else "10"
keras_nfnets_command([*arguments.split(), "--epochs", epochs])

# %% [markdown]
# ## Every format
#
# A file is written under a temporary name, run in its runtime, and stays only
# if it returns what the model returns. A runtime that is not installed is named
# with the extra that brings it.

# %%
FORMATS = {
    "saved_model": [],
    "keras": [],
    "onnx": [],
    "onnx int8": ["--precision", "int8", "--calibrate", "digits"],
    "openvino": [],
    "litert": [],
}
written = {}
for row, options in FORMATS.items():
    kind = row.partition(" ")[0]
    suffix = {"saved_model": "", "openvino": ".xml", "litert": ".tflite"}
    path = "files/" + row.replace(" ", "_") + suffix.get(kind, f".{kind}")
    os.makedirs("files", exist_ok=True)
    command = ["export", "run", "--format", kind, "--out", path, *options]
    if keras_nfnets_command([*command, "--overwrite"]) == 0:
        written[row] = path

# %% [markdown]
# ## Speed and size
#
# Batch 1, medians of this machine; each takes the same image files through the
# same decoding.

# %%
import pathlib
import statistics
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


def milliseconds(classifier, repeats=10 if QUICK else 100):
    classifier.classify(image)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        classifier.classify(image)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


for row, path in written.items():
    classifier = keras_nfnets.Classifier(path)
    size, latency = size_of(path) / 1e6, milliseconds(classifier)
    print(f"{row:12} {size:5.1f} MB {latency:6.2f} ms")

# %% [markdown]
# ## A server gets image bytes
#
# The SavedModel decodes, resizes and crops as `predict` does.
# `docs/serving.md` has the requests for TensorFlow Serving.

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
# film takes its place, and the result goes into another film.

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
    _, frame = cv2.VideoCapture("named.mp4").read()
    plt.imshow(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    plt.axis("off")
else:
    print("This needs OpenCV: pip install 'keras-nfnets[webcam]'")
