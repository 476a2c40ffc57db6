"""Start-up and peak memory, each time in a fresh process.

make bench
.venv/bin/python benchmarks/startup.py --rounds 1
"""

import os
import statistics
import subprocess
from dataclasses import dataclass

import contest
import tables

PLAIN, BOTH, ADDED = (
    "import keras",
    "import keras, keras_nfnets",
    "import keras_nfnets",
)
# What is imported before the clock starts, by what is timed.
IMPORTS = {PLAIN: "", BOTH: "", ADDED: PLAIN}
CODE = """
{before}
import time
start = time.perf_counter()
{timed}
print(time.perf_counter() - start)
"""
SIZE = 192  # pixels


@dataclass(frozen=True)
class Start:
    """One row: a process that starts and, unless it only builds, trains."""

    contender: str
    model: str = "nfnet_f0"
    task: str = "train"
    batch: int = 4
    warm_up: int = 1

    @property
    def title(self):
        what = self.model
        if self.task == "train":
            what += f", training at batch {self.batch}"
        return f"{contest.CONTENDERS[self.contender].title}: {what}"


OURS, KECAM = Start("keras_nfnets"), Start("kecam")
FIRST_STEPS = (
    OURS,
    KECAM,
    Start("timm"),
    Start("keras_nfnets", "nfnet_f7", "build"),
)
# The second step is the first one after the optimizer has made its weights.
MEMORY = tuple(
    Start(name, batch=16, warm_up=2) for name in ("keras_nfnets", "remat")
)
COLUMNS = ("import", "build", "first step")


def main():
    parser = tables.parser(__doc__, rounds=5)
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS)
    )
    options = parser.parse_args()
    lines = [
        "# Start-up and peak memory",
        "",
        f"Each reading is a fresh process; {SIZE} px, float32.",
        *tables.conditions(options.rounds),
    ]
    for section in options.sections:
        lines += ["", *SECTIONS[section](options)]
    tables.publish(lines, options.out)


def _imports(options):
    def seconds(statement):
        code = CODE.format(before=IMPORTS[statement], timed=statement)
        python = contest.interpreter(".venv", options.python)
        printed = subprocess.run(
            [python, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ | contest.TENSORFLOW,
        ).stdout
        return float(printed.split()[-1])

    readings = _in_turn(IMPORTS, options.rounds, seconds)
    medians = {name: statistics.median(s) for name, s in readings.items()}
    rows = [
        [f"`{name}`" + (" after that" if IMPORTS[name] else ""), _seconds(s)]
        for name, s in readings.items()
    ]
    return [
        "## Import, with TensorFlow",
        "",
        *tables.table(["", "seconds"], rows),
        "",
        f"The second less the first: {medians[BOTH] - medians[PLAIN]:.3f} s.",
    ]


def _first_steps(options):
    return [
        "## From nothing to the first step",
        "",
        "The first step traces and compiles.",
        "",
        *_starts(FIRST_STEPS, options, compare=("first step", KECAM)),
    ]


def _memory(options):
    return [
        "## Memory of a training step, with and without `remat`",
        "",
        "Two steps, the first of which makes the optimizer's weights.",
        "",
        *_starts(MEMORY, options, compare=("peak", MEMORY[0])),
    ]


SECTIONS = {
    "imports": _imports,
    "first_steps": _first_steps,
    "memory": _memory,
}


def _in_turn(entrants, rounds, read):
    """Returns what `read` gives for each entrant, a list of all rounds."""
    readings = {entrant: [] for entrant in entrants}
    for number, order in enumerate(contest.turns(list(entrants), rounds)):
        print(f"round {number + 1} of {rounds}", flush=True)
        for entrant in order:
            readings[entrant].append(read(entrant))
    return readings


def _starts(starts, options, compare):
    """Returns the lines of a table of fresh processes.

    Args:
        starts: List of `Start`s.
        options: The command line's.
        compare: The column whose ratios are shown, and to which `Start`.
    """

    def read(start):
        job = contest.arguments(start.task, start.model, start.batch, SIZE)
        job += ["--warm-up", str(start.warm_up)]
        contender = contest.CONTENDERS[start.contender]
        worker = contest.Worker(contender, job, options.python)
        worker.run(0)
        worker.stop()
        return worker.about["startup"] | {"peak": worker.peak}

    readings = _in_turn(starts, options.rounds, read)
    rows = [_row(start, readings, *compare) for start in starts]
    column, baseline = compare
    columns = ["", *(f"{name}, s" for name in COLUMNS), "peak, GB"]
    columns.append(f"{column}, ratio to {baseline.contender}")
    return tables.table(columns, rows)


def _row(start, readings, column, baseline):
    parts = {
        part: [reading[part] for reading in readings[start]]
        for part in readings[start][0]
    }
    cells = [_seconds(parts[c]) if c in parts else "" for c in COLUMNS]
    ratio = ""
    if column in parts:
        own = [[value] for value in parts[column]]
        others = [[reading[column]] for reading in readings[baseline]]
        ratio = tables.ratio(own, others)
    peak = tables.gigabytes(statistics.median(parts["peak"]))
    return [start.title, *cells, peak, ratio]


def _seconds(values):
    middle = statistics.median(values)
    return f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
