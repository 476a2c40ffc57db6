"""One contender's side of a benchmark: runs steps when it is told to.

It prints one JSON line when it is ready, and then answers each number of steps
it reads with a JSON line: that many durations, and its memory. It imports the
standard library alone, since every environment runs it, and since a contender
times its own imports.
"""

import argparse
import contextlib
import importlib
import json
import os
import platform
import resource
import sys
import time

CLASSES = 1000
LEARNING_RATE = 1e-3  # small, so that nobody's loss leaves the usual range
# Frameworks print to standard output, some of them on import; only answers may
# reach the parent.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
_startup = {}  # seconds by part


def job():
    """Returns what the parent process wants done, from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("build", "train", "infer"))
    parser.add_argument("--model", default="nfnet_f0", help="our name of it")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    # The first step traces and compiles.
    parser.add_argument("--warm-up", type=int, default=3, help="steps")
    parser.add_argument("--folded", action="store_true")
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def named(models, job):
    """Returns another library's model by our name of it.

    Args:
        models: Dictionary from our names to anything.
        job: As the function `job` returns it.

    Raises:
        ValueError: If the library has no such model.
    """
    if job.model not in models:
        raise ValueError(
            f"`--model` must be one of {sorted(models)} here. "
            f"Received: --model={job.model}"
        )
    return models[job.model]


@contextlib.contextmanager
def timed(part):
    """Keeps the seconds that a part of the start-up takes."""
    start = time.perf_counter()
    yield
    _startup[part] = time.perf_counter() - start


def data(job):
    """Returns the batch that every contender sees."""
    import numpy as np

    draw = np.random.default_rng(0)
    shape = (job.batch, job.size, job.size, 3)
    images = draw.normal(size=shape).astype("float32")
    return images, draw.integers(CLASSES, size=job.batch)


def keras_step(job, model):
    """Returns one step of a Keras model, of any generation of Keras."""
    images, labels = data(job)
    if job.task == "train":
        return lambda: model.train_on_batch(images, labels)
    return lambda: model.predict_on_batch(images)


def plain_sgd(keras):
    """Returns the optimizer of those who have none of their own.

    Args:
        keras: Module, Keras of any generation.
    """
    return keras.optimizers.SGD(LEARNING_RATE, momentum=0.9, nesterov=True)


def keras_versions():
    """Returns the versions of Keras 3 and of its backend."""
    import keras

    backend = keras.backend.backend()
    return {
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
    }


def serve(job, step, parameters, versions, note="", wait=None, **more):
    """Answers the parent process until it closes our input.

    Args:
        job: As the function `job` returns it.
        step: Function that runs one step to its end, or starts one.
        parameters: Integer, the model's number of weights.
        versions: Dictionary, version by name of what the step runs on.
        note: String, what a reader must know about this contender's training.
        wait: Function that waits for all steps, if `step` only starts one. A
            round's steps are then timed together.
        **more: What else the parent process must know.
    """
    if job.task != "build":
        with timed("first step"):
            step()
        for _ in range(job.warm_up - 1):
            step()
        if wait:
            wait()
    _answer(
        parameters=parameters,
        versions={"Python": platform.python_version()} | versions,
        note=note if job.task == "train" else "",
        startup=_startup,
        **more,
    )
    for line in sys.stdin:
        seconds = _round(int(line), step, wait)
        _answer(seconds=seconds, resident=_resident(), peak=_peak())


def _answer(**values):
    print(json.dumps(values), file=ANSWERS, flush=True)


def _round(steps, step, wait):
    if wait is None:
        return [_seconds(step) for _ in range(steps)]

    def run_all():
        for _ in range(steps):
            step()
        wait()

    return [_seconds(run_all) / steps] * steps


def _seconds(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _resident():
    """Returns the bytes of this process that are in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return pages * resource.getpagesize()


def _peak():
    """Returns the most bytes of this process that were ever in memory."""
    # Linux counts them in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
