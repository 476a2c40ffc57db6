"""One contender's side of a benchmark: runs steps when it is told to.

It prints one JSON line when it is ready, and then answers each number of steps
it reads with a JSON line of that many durations in seconds. It imports nothing
but the standard library and NumPy, since every environment runs it.
"""

import json
import os
import platform
import sys
import time

import numpy as np

BATCH = 4
SIZE = 192  # pixels
CLASSES = 1000
LEARNING_RATE = 1e-3  # small, so that nobody's loss leaves the usual range
WARM_UP = 3  # steps; the first one traces and compiles


def data():
    """Returns the batch that every contender trains on."""
    draw = np.random.default_rng(0)
    images = draw.normal(size=(BATCH, SIZE, SIZE, 3)).astype("float32")
    return images, draw.integers(CLASSES, size=BATCH)


def serve(step, parameters, versions, note=""):
    """Answers the parent process until it closes our input.

    Args:
        step: Function that runs one training step to its end and returns the
            loss.
        parameters: Integer, the model's number of weights.
        versions: Dictionary, version by name of what the step runs on.
        note: String, what a reader must know about this contender.
    """
    # Frameworks print to standard output; only answers may reach the parent.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    losses = [float(step()) for _ in range(WARM_UP)]
    about = dict(
        parameters=parameters,
        first_loss=losses[0],
        versions={"Python": platform.python_version()} | versions,
        note=note,
    )
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        seconds = [_timed(step) for _ in range(int(line))]
        print(json.dumps(seconds), file=answers, flush=True)


def _timed(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
