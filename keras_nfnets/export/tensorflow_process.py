"""Runs a job in a process of its own, where Keras's backend is TensorFlow.

TensorFlow alone writes some formats, and a process has one backend of Keras.
`in_tensorflow` puts the folded model (a `.keras` file), the task and the images
to calibrate with into a temporary folder, and starts this module as a program.
`main` is what runs there.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

# The function that does each job there. All take model, path, precision and
# images to calibrate with.
JOBS = {
    "litert": "keras_nfnets.export.litert:convert",
    "saved_model": "keras_nfnets.export.saved_model:convert",
}


def in_tensorflow(job, model, request):
    """Runs a job on a model of stock layers.

    Args:
        job: String, a key of `JOBS`.
        model: A functional model.
        request: The `Request`, for path, precision and calibration.

    Raises:
        RuntimeError: If the job fails. The message has the last line that it
            wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model.save(folder / "model.keras")
        task = dict(
            job=job, path=str(request.path), precision=request.precision
        )
        (folder / "task.json").write_text(json.dumps(task), "utf-8")
        if request.calibrate:
            np.savez(folder / "calibrate.npz", *request.calibrate)
        result = subprocess.run(
            [sys.executable, "-m", __name__, str(folder)],
            env=os.environ | {"KERAS_BACKEND": "tensorflow"},
            capture_output=True,
            text=True,
        )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(
            f"The process of TensorFlow that writes {job!r} failed with the "
            f"status {result.returncode}: {lines[-1]}"
        )


def main(folder):
    """Does the job that is described in a folder.

    Args:
        folder: Path of the folder that `in_tensorflow` filled.
    """
    import keras

    folder = Path(folder)
    task = json.loads((folder / "task.json").read_text("utf-8"))
    module, _, name = JOBS[task["job"]].partition(":")
    convert = getattr(importlib.import_module(module), name)
    batches = None
    if (folder / "calibrate.npz").exists():
        with np.load(folder / "calibrate.npz") as file:
            batches = list(file.values())
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    convert(model, Path(task["path"]), task["precision"], batches)


if __name__ == "__main__":
    main(sys.argv[1])
