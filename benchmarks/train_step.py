"""One training step of NFNet-F0, side by side with other libraries.

    make bench
    .venv/bin/python benchmarks/train_step.py --only keras_nfnets kecam

Each contender runs in a process and an environment of its own. All are warmed
up first; then short turns alternate, and the order turns round with every
round, so that whatever else the machine does reaches all of them alike. Only
one of them computes at a time.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
from dataclasses import dataclass, field

import worker

HERE = pathlib.Path(__file__).parent
BASELINE = "kecam"


@dataclass(frozen=True)
class Contender:
    """One row of the table: where and how a worker runs."""

    title: str
    venv: str
    script: str
    environment: dict = field(default_factory=dict)
    by_default: bool = True


CONTENDERS = {
    "keras_nfnets": Contender(
        "keras_nfnets, TensorFlow",
        ".venv",
        "worker_keras_nfnets.py",
        {"KERAS_BACKEND": "tensorflow"},
    ),
    "keras_nfnets_jax": Contender(
        "keras_nfnets, JAX",
        ".venv",
        "worker_keras_nfnets.py",
        {"KERAS_BACKEND": "jax"},
        by_default=False,
    ),
    "kecam": Contender(
        "keras_cv_attention_models",
        ".venv-kecam",
        "worker_kecam.py",
        {"TF_USE_LEGACY_KERAS": "1"},
    ),
}


class Worker:
    """A contender's process."""

    def __init__(self, contender, python):
        self.process = subprocess.Popen(
            [python, HERE / contender.script],
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


def measure(names, pythons, rounds, steps):
    """Returns what each worker says of itself, and its rounds of seconds."""
    workers = {}
    for name in names:
        contender = CONTENDERS[name]
        print(f"warming up {contender.title}", flush=True)
        python = pythons.get(name, f"{contender.venv}/bin/python")
        workers[name] = Worker(contender, python)
    seconds = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            seconds[name].append(workers[name].run(steps))
        turn = {n: statistics.median(s[-1]) for n, s in seconds.items()}
        print(
            f"round {number + 1} of {rounds}:",
            *(f"{name} {value:.2f} s" for name, value in turn.items()),
            flush=True,
        )
    for process in workers.values():
        process.stop()
    return {name: w.about for name, w in workers.items()}, seconds


def report(abouts, seconds):
    """Returns the results in Markdown."""
    rounds = len(next(iter(seconds.values())))
    steps = len(next(iter(seconds.values()))[0])
    lines = [
        "# One training step of NFNet-F0",
        "",
        f"Batch {worker.BATCH} at {worker.SIZE} px, float32, {worker.CLASSES} "
        "classes, Nesterov SGD, `compile` with its",
        "defaults, `train_on_batch` on fixed data. Written by `train_step.py`,",
        f"{datetime.date.today()}, on {machine()}.",
        "",
        f"{rounds} rounds of {steps} steps each, in turn. Seconds are medians "
        "over all steps; the",
        "ratio is taken within each round: median (smallest to largest).",
        "",
        f"| | seconds per step | ratio to {BASELINE} | parameters | versions |",
        "|---|---|---|---|---|",
        *(row(name, abouts[name], seconds) for name in seconds),
        "",
    ]
    return "\n".join(lines)


def row(name, about, seconds):
    cells = [
        f"{CONTENDERS[name].title} ({about['note']})",
        f"{statistics.median(sum(seconds[name], [])):.2f}",
        ratio(seconds[name], seconds[BASELINE]) if BASELINE in seconds else "",
        f"{about['parameters']:,}",
        ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
    ]
    return f"| {' | '.join(cells)} |"


def ratio(own, baseline):
    ratios = [
        statistics.median(a) / statistics.median(b)
        for a, b in zip(own, baseline, strict=True)
    ]
    middle = statistics.median(ratios)
    return f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def machine():
    """Returns cores, memory and system, and nothing that names the machine."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores} CPU cores, {memory:.0f} GiB of memory, Linux"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = [name for name, c in CONTENDERS.items() if c.by_default]
    parser.add_argument(
        "--only", nargs="+", choices=CONTENDERS, default=default
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3, help="per round")
    parser.add_argument(
        "--python",
        nargs="*",
        default=[],
        metavar="NAME=PATH",
        help="an interpreter to use for a contender instead of its own",
    )
    parser.add_argument("--out", type=pathlib.Path, help="file to write")
    return parser.parse_args()


def main():
    options = arguments()
    pythons = dict(pair.split("=", 1) for pair in options.python)
    abouts, seconds = measure(
        options.only, pythons, options.rounds, options.steps
    )
    text = report(abouts, seconds)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
