"""Side by side: each contender in a process and an environment of its own.

All are warmed up first; then short turns alternate, and the order turns round
with every round, so that whatever else the machine does reaches all of them
alike. Only one of them computes at a time.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).parent


@dataclass(frozen=True)
class Contender:
    """One row of a table: where and how a worker runs."""

    title: str
    venv: str
    script: str
    environment: dict = field(default_factory=dict)
    options: tuple = ()


OURS, TIMM = "worker_keras_nfnets.py", "worker_timm.py"
CONTENDERS = {
    "keras_nfnets": Contender(
        "keras_nfnets, TensorFlow",
        ".venv",
        OURS,
        {"KERAS_BACKEND": "tensorflow"},
    ),
    "folded": Contender(
        "keras_nfnets, TensorFlow, folded",
        ".venv",
        OURS,
        {"KERAS_BACKEND": "tensorflow"},
        ("--folded",),
    ),
    "keras_nfnets_jax": Contender(
        "keras_nfnets, JAX", ".venv", OURS, {"KERAS_BACKEND": "jax"}
    ),
    "kecam": Contender(
        "keras_cv_attention_models",
        ".venv-kecam",
        "worker_kecam.py",
        {"TF_USE_LEGACY_KERAS": "1"},
    ),
    "timm": Contender("timm, PyTorch", ".venv-timm", TIMM),
}


class Worker:
    """A contender's process."""

    def __init__(self, contender, python, job):
        self.process = subprocess.Popen(
            [python, HERE / contender.script, *job, *contender.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | contender.environment,
        )
        self.about = self._answer()

    def run(self, steps):
        """Returns the seconds that each of this many steps took."""
        print(steps, file=self.process.stdin, flush=True)
        return self._answer()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"A worker ended early: {self.process.args[1].name}, exit "
                f"status {self.process.wait()}. Its error stands above."
            )
        return json.loads(line)


def measure(options, job):
    """Measures contenders in turn.

    Args:
        options: As the function `options` returns it.
        job: List of strings, the arguments of every worker.

    Returns:
        By name, what each worker says of itself, and its rounds of seconds.
    """
    names, rounds = options.only, options.rounds
    # Interpreters to use in place of an environment's own.
    pythons = dict(pair.split("=", 1) for pair in options.python)
    workers = {}
    for name in names:
        contender = CONTENDERS[name]
        print(f"warming up {contender.title}", flush=True)
        python = pythons.get(contender.venv, f"{contender.venv}/bin/python")
        workers[name] = Worker(contender, python, job)
    seconds = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            seconds[name].append(workers[name].run(options.steps))
        turn = {n: statistics.median(s[-1]) for n, s in seconds.items()}
        print(
            f"round {number + 1} of {rounds}:",
            *(f"{name} {value:.3f} s" for name, value in turn.items()),
            flush=True,
        )
    for process in workers.values():
        process.stop()
    return {name: w.about for name, w in workers.items()}, seconds


def table(abouts, seconds, baselines):
    """Returns the lines of a table in Markdown.

    Args:
        abouts: As `measure` returns it.
        seconds: As `measure` returns it.
        baselines: Names of contenders, one column of ratios each.
    """
    columns = ["", "seconds", *(f"ratio to {name}" for name in baselines)]
    return [
        f"| {' | '.join([*columns, 'parameters', 'versions'])} |",
        "|---" * (len(columns) + 2) + "|",
        *(_row(name, abouts[name], seconds, baselines) for name in seconds),
    ]


def _row(name, about, seconds, baselines):
    note = f" ({about['note']})" if about["note"] else ""
    cells = [
        CONTENDERS[name].title + note,
        f"{statistics.median(sum(seconds[name], [])):.2f}",
        *(ratio(seconds[name], seconds[other]) for other in baselines),
        f"{about['parameters']:,}",
        ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
    ]
    return f"| {' | '.join(cells)} |"


def ratio(own, baseline):
    """Returns the median of the rounds' ratios, and their range."""
    ratios = [
        statistics.median(a) / statistics.median(b)
        for a, b in zip(own, baseline, strict=True)
    ]
    middle = statistics.median(ratios)
    return f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def conditions(options):
    """Returns the lines that say how and where a table came about."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"{datetime.date.today()}, {cores} CPU cores, {memory:.0f} GiB of "
        f"memory, Linux. {options.rounds} rounds of {options.steps} steps",
        "each, in turn. Seconds are medians over all steps; a ratio is taken "
        "within each round:",
        "median (smallest to largest).",
    ]


def options(text, names, rounds=10, steps=3):
    """Returns the options of a benchmark with this docstring."""
    parser = argparse.ArgumentParser(description=text.partition("\n")[0])
    parser.add_argument(
        "--only", nargs="+", choices=CONTENDERS, default=list(names)
    )
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--steps", type=int, default=steps, help="per round")
    parser.add_argument(
        "--python",
        nargs="*",
        default=[],
        metavar="VENV=PATH",
        help="an interpreter to use in place of an environment's own",
    )
    parser.add_argument("--out", type=pathlib.Path, help="file to write")
    return parser.parse_args()


def publish(lines, out):
    """Prints a report, and writes it if a file was given."""
    text = "\n".join([*lines, ""])
    print(text)
    if out:
        out.write_text(text, encoding="utf-8")
