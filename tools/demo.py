"""The demo of `make demo`: train, evaluate, export, predict with TensorFlow.

python tools/demo.py --out runs/demo
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TOOLS = Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS.parent))

import keras  # noqa: E402 (the backend must be chosen first)
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from keras_nfnets.cli import main as cli  # noqa: E402
from keras_nfnets.data import digits  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="runs/demo")
    parser.add_argument("--epochs", default="15")
    parser.add_argument("--seed", default="0")
    args = parser.parse_args()
    run(
        *("train", "--recipe", "nfnet_pico", "--data", "digits"),
        *("--epochs", args.epochs, "--seed", args.seed),
        *("--out", args.out, "--overwrite"),
    )
    run("evaluate", args.out)
    run("export", args.out)
    images = write_images(Path(args.out, "images"))
    serve = str(TOOLS / "serve_saved_model.py")
    command = [serve, str(Path(args.out, "saved_model")), *images]
    print("\n$ python", shlex.join(command), flush=True)
    subprocess.run([sys.executable, *command], check=True)
    close(Path(args.out), images)


def run(*arguments):
    """Runs one command as the command line does, and ends where it fails."""
    print("\n$ keras-nfnets", shlex.join(arguments), flush=True)
    status = cli(list(arguments))
    if status:
        sys.exit(status)


def write_images(folder, count=6):
    """Writes held-out digits as PNG and JPEG files named after their class."""
    folder.mkdir(parents=True, exist_ok=True)
    data = digits()
    paths = []
    for i in range(count):
        suffix = ("png", "jpg")[i % 2]
        path = folder / f"held_out{i}_is_{data.test_labels[i]}.{suffix}"
        keras.utils.save_img(path, data.test_images[i], scale=False)
        paths.append(str(path))
    return paths


def close(out, images):
    """Prints what was written where, and what to try next."""
    table = Table("written", "what it is", title="demo")
    for name, meaning in (
        ("model.keras", "the best model, for Keras on any backend"),
        ("checkpoints", "the last two, for train --resume"),
        ("saved_model", "the best model, for TensorFlow alone"),
        ("history.csv", "every epoch's numbers"),
        ("curves.png", "the same, drawn"),
        ("logs", "the same, for TensorBoard"),
        ("config.json", "settings, data and versions"),
        ("images", f"{len(images)} held-out digits, PNG and JPEG"),
    ):
        table.add_row(str(out / name), meaning)
    print()
    Console().print(table)
    # Where the environment of `make demo` has it.
    command = os.path.relpath(Path(sys.executable).parent / "keras-nfnets")
    print(f"next: {command} predict {out} {images[0]}")


if __name__ == "__main__":
    main()
