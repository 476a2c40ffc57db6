"""A process of its own in which Keras's backend is TensorFlow.

Some formats are written by TensorFlow alone. From another backend the folded
model goes there as a `.keras` file.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

# By the name of a job, the function that does it there.
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
        RuntimeError: If the job failed; with what it said last.
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
    """Does the job that is described in a folder."""
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
