"""What the benchmarks' options and reports have in common."""

import argparse
import datetime
import os
import pathlib
import statistics


def parser(text, rounds):
    """Returns a parser of the options that every benchmark has.

    Args:
        text: String, the benchmark's docstring.
        rounds: Integer, how many there are by default.
    """
    parser = argparse.ArgumentParser(description=text.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument(
        "--python",
        nargs="*",
        default=[],
        type=_venv_and_path,
        metavar="VENV=PATH",
        help="an interpreter to use in place of an environment's own",
    )
    parser.add_argument("--out", type=pathlib.Path, help="file to write")
    return parser


def _venv_and_path(text):
    venv, equals, path = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"must be VENV=PATH. Received: {text!r}"
        )
    return venv, path


def conditions(rounds, steps=None):
    """Returns the lines that say how and where a table came about.

    Args:
        rounds: Integer, how often everything had its turn.
        steps: Integer, how many steps a turn had, or `None` for one reading.
    """
    return [
        *where_and_when(rounds, steps),
        "Seconds are medians; a ratio is taken within each round: median "
        "(smallest to largest).",
        "Memory is the process's resident memory, 1 GB = 1e9 bytes.",
    ]


def where_and_when(rounds, steps=None):
    """Returns the first lines of `conditions`."""
    turn = f"{steps} steps" if steps else "one reading"
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"{datetime.date.today()}, {cores} CPU cores, {memory:.0f} GiB of "
        f"memory, Linux. Rounds: {rounds}; in each everything has its turn, "
        f"{turn}.",
    ]


def table(columns, rows):
    """Returns the lines of a table in Markdown."""
    return [
        _line(columns),
        "|---" * len(columns) + "|",
        *(_line(row) for row in rows),
    ]


def _line(cells):
    return f"| {' | '.join(cells)} |"


def ratio(own, baseline):
    """Returns the median of the rounds' ratios, and their range.

    Args:
        own: List of lists, the seconds of each step, by round.
        baseline: The same of what is compared with.
    """
    ratios = [
        statistics.median(a) / statistics.median(b)
        for a, b in zip(own, baseline, strict=True)
    ]
    middle = statistics.median(ratios)
    return f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def gigabytes(count):
    return f"{count / 1e9:.2f}"


def publish(lines, out):
    """Prints a report, and writes it if a file was given."""
    text = "\n".join([*lines, ""])
    print(text)
    if out:
        out.write_text(text, encoding="utf-8")
