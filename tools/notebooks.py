"""Runs the notebooks, and writes them with their outputs.

    python tools/notebooks.py                   all, quickly: do they run?
    python tools/notebooks.py --write           all, whole: write the outputs
    python tools/notebooks.py --write quickstart

A notebook is `notebooks/NAME.py`, in jupytext's percent format. Beside it is
`NAME.ipynb`, what a reader opens: the same cells with their outputs. Without
`--write` each one runs in a folder of its own with `QUICK = True`, and the two
files must have the same cells.

Exit status: 0 if all ran, 1 if one failed or its `.ipynb` is out of date.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbclient
import nbformat
from nbclient.exceptions import CellExecutionError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
# In the order of the documentation.
NAMES = (
    "quickstart",
    "colab_tpu",
    "fine_tuning",
    "why_agc",
    "your_own_model",
    "serving",
    "spectrograms",
)
SECONDS = 600  # for one cell
WORKERS = 2  # kernels at a time: they trace for the most part, on one core
# What a source says of the project's address, and the address.
PLACE, REPOSITORY = "REPOSITORY", "https://github.com/keras-nfnets/keras_nfnets"
COLAB = "https://colab.research.google.com/github/keras-nfnets/keras_nfnets"
# Up to the folder of packages, the repository, or a cell's file.
PATHS = re.compile(
    r"/[^\s\"'\\]*/(?=ipykernel_\d)|/[^\s\"'\\]*/site-packages/"
    f"|{re.escape(str(ROOT))}/"
)
# What LiteRT's C++ code says of itself, past Python's logging.
NOISE = re.compile(r"INFO: Created TensorFlow Lite .*\n")
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def main(arguments=None):
    options = _arguments(arguments)
    # The kernels of the notebooks import this copy of the package.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # One at a time when it is written: its speeds and durations are read.
    run, workers = (write, 1) if options.write else (check, WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(run, options.names or NAMES))
    return 0 if all(done) else 1


def _arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=str(NAMES))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"NAME must be one of {NAMES}. Received: {unknown}")
    return options


def read(name):
    """Returns the notebook of a source, without outputs."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    notebook = jupytext.reads(text.replace(PLACE, REPOSITORY), "py:percent")
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        }
    }
    badge = (
        f"[![Open in Colab]({BADGE})]({COLAB}/blob/main/notebooks/{name}.ipynb)"
    )
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{badge}\n{rest}"
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell{number}"
        cell.metadata = {}
    return notebook


def check(name):
    """Runs a notebook quickly, and tells whether it is as it should be."""
    notebook = read(name)
    path = FOLDER / f"{name}.ipynb"
    written = nbformat.read(path, 4) if path.exists() else None
    if written is None or _sources(written) != _sources(notebook):
        print(f"{name}: {path.name} is not of the source: run --write")
        return False
    for cell in notebook.cells:
        cell.source = cell.source.replace("QUICK = False", "QUICK = True")
    return execute(name, notebook)


def write(name):
    """Runs a notebook whole and writes it with its outputs."""
    notebook = read(name)
    if not execute(name, notebook):
        return False
    for cell in notebook.cells:
        cell.metadata = {}  # when it ran
    notebook = without_paths(without_noise(notebook))
    path = FOLDER / f"{name}.ipynb"
    temporary = path.with_suffix(".ipynb.tmp")
    nbformat.write(notebook, temporary)
    temporary.replace(path)
    return True


def execute(name, notebook):
    """Runs all cells in a folder of their own; returns whether none failed."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(
            notebook,
            timeout=SECONDS,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute()
        except (CellExecutionError, DeadKernelError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return False
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return True


def without_paths(notebook):
    """Returns a notebook whose outputs name no folder of this machine.

    What warns does so with the path of its file. What is left of it begins at
    the package's name.
    """
    text = PATHS.sub("", json.dumps(notebook))
    return nbformat.reads(text, 4)


def without_noise(notebook):
    """Returns a notebook without the lines that match `NOISE`."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = NOISE.sub("", output.text)
            cell.outputs = [o for o in cell.outputs if o.get("text") != ""]
    return notebook


def _sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


if __name__ == "__main__":
    sys.exit(main())
