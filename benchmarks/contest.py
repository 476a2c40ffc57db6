"""Side by side: each contender in a process and an environment of its own.

All are warmed up first; then short turns alternate, and the order turns round
with every round, so that whatever else the machine does reaches all of them
alike. Only one of them computes at a time.
"""

import json
import os
import pathlib
import statistics
import subprocess
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORKERS = ROOT / "benchmarks" / "workers"


@dataclass(frozen=True)
class Contender:
    """One row of a table: where and how a worker runs."""

    title: str
    venv: str
    script: str
    environment: dict = field(default_factory=dict)
    options: tuple = ()  # of the worker; they win over those of the job


OURS, TIMM = "worker_keras_nfnets.py", "worker_timm.py"
TENSORFLOW = {"KERAS_BACKEND": "tensorflow"}
CONTENDERS = {
    "keras_nfnets": Contender(
        "keras_nfnets, TensorFlow", ".venv", OURS, TENSORFLOW
    ),
    "folded": Contender(
        "keras_nfnets, TensorFlow, folded",
        ".venv",
        OURS,
        TENSORFLOW,
        ("--folded",),
    ),
    "remat": Contender(
        "keras_nfnets, TensorFlow, `remat=True`",
        ".venv",
        OURS,
        TENSORFLOW,
        ("--remat",),
    ),
    # The papers' NF-RegNets and timm's differ; this one is timm's.
    "nf_regnet_b1_timm": Contender(
        "keras_nfnets, TensorFlow, `nf_regnet_b1_timm`",
        ".venv",
        OURS,
        TENSORFLOW,
        ("--model", "nf_regnet_b1_timm"),
    ),
    "keras_nfnets_jax": Contender(
        "keras_nfnets, JAX", ".venv", OURS, {"KERAS_BACKEND": "jax"}
    ),
    "batch_norm": Contender(
        "the same with BatchNormalization, TensorFlow",
        ".venv",
        "worker_batch_norm.py",
        TENSORFLOW,
    ),
    "applications": Contender(
        "`keras.applications.ResNet50`, TensorFlow",
        ".venv",
        "worker_applications.py",
        TENSORFLOW,
    ),
    "kecam": Contender(
        "keras_cv_attention_models",
        ".venv-kecam",
        "worker_kecam.py",
        {"TF_USE_LEGACY_KERAS": "1"},
    ),
    "timm": Contender("timm, PyTorch", ".venv-timm", TIMM),
}


def arguments(task, model, batch, size):
    """Returns the command line of a worker's job."""
    sizes = ["--batch", str(batch), "--size", str(size)]
    return [task, "--model", model, *sizes]


def interpreter(venv, pythons):
    """Returns an environment's interpreter, or what is to take its place."""
    return dict(pythons).get(venv, f"{venv}/bin/python")


class Worker:
    """A contender's process.

    Args:
        contender: A `Contender`.
        job: List of strings, as `arguments` returns it.
        pythons: Pairs of an environment and the interpreter to use for it.
    """

    def __init__(self, contender, job, pythons):
        python = interpreter(contender.venv, pythons)
        self.process = subprocess.Popen(
            [python, WORKERS / contender.script, *job, *contender.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | contender.environment,
        )
        self.about = self._answer()
        self.answers = []

    def run(self, steps):
        """Runs this many steps; returns their seconds, and bytes in use."""
        print(steps, file=self.process.stdin, flush=True)
        self.answers.append(self._answer())
        return self.answers[-1]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()

    @property
    def rounds(self):
        """The seconds of each step, by round."""
        return [answer["seconds"] for answer in self.answers]

    @property
    def seconds(self):
        """The median over all steps."""
        return statistics.median(sum(self.rounds, []))

    @property
    def peak(self):
        """The most bytes that were in memory at once."""
        return self.answers[-1]["peak"]

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"A worker ended early: {self.process.args[1].name}, exit "
                f"status {self.process.wait()}. Its error stands above."
            )
        return json.loads(line)


def turns(names, rounds):
    """Yields the order of each round."""
    for number in range(rounds):
        yield names if number % 2 == 0 else names[::-1]


def measure(entrants, options):
    """Measures in turn, with all workers alive at once.

    Args:
        entrants: Dictionary from a name to a `Contender` and its job.
        options: As `tables.options` returns them.

    Returns:
        A dictionary from each name to its `Worker`, which has ended.
    """
    workers = {}
    try:
        for name, (contender, job) in entrants.items():
            print(f"warming up {name}", flush=True)
            workers[name] = Worker(contender, job, options.python)
        _take_turns(workers, options)
    finally:
        for worker in workers.values():
            worker.stop()
    return workers


def _take_turns(workers, options):
    for number, order in enumerate(turns(list(workers), options.rounds)):
        print(f"round {number + 1} of {options.rounds}:", end="", flush=True)
        for name in order:
            seconds = workers[name].run(options.steps)["seconds"]
            print(f" {name} {statistics.median(seconds):.3f} s", end="")
        print(flush=True)
