"""One contender's side of a benchmark: runs steps when it is told to.

It prints one JSON line when it is ready, and then answers each number of steps
it reads with a JSON line of that many durations in seconds. It imports nothing
but the standard library and NumPy, since every environment runs it.
"""

import argparse
import json
import os
import platform
import sys
import time

import numpy as np

CLASSES = 1000
LEARNING_RATE = 1e-3  # small, so that nobody's loss leaves the usual range
# Frameworks print to standard output, some of them on import; only answers may
# reach the parent.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
WARM_UP = 3  # steps; the first one traces and compiles


def job():
    """Returns what the parent process wants done, from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("train", "infer"))
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--folded", action="store_true")
    return parser.parse_args()


def data(job):
    """Returns the batch that every contender sees."""
    draw = np.random.default_rng(0)
    shape = (job.batch, job.size, job.size, 3)
    images = draw.normal(size=shape).astype("float32")
    return images, draw.integers(CLASSES, size=job.batch)


def serve(step, parameters, versions, note=""):
    """Answers the parent process until it closes our input.

    Args:
        step: Function that runs one step to its end.
        parameters: Integer, the model's number of weights.
        versions: Dictionary, version by name of what the step runs on.
        note: String, what a reader must know about this contender.
    """
    for _ in range(WARM_UP):
        step()
    about = dict(
        parameters=parameters,
        versions={"Python": platform.python_version()} | versions,
        note=note,
    )
    print(json.dumps(about), file=ANSWERS, flush=True)
    for line in sys.stdin:
        seconds = [_timed(step) for _ in range(int(line))]
        print(json.dumps(seconds), file=ANSWERS, flush=True)


def _timed(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
