"""Corrupts files at random, and looks at what loading them does.

As a program:

    python tests/fuzz.py [--count 3000] [--first 0] [KIND ...]

A corrupted file has to be refused with a ValueError or an OSError that leaves
the model as it was, or to be loaded whole, with finite values. It may take no
longer than `SECONDS`. A crash of the process ends the program; the seed is then
the last one in `--log`.
"""

import argparse
import contextlib
import faulthandler
import io
import pathlib
import random
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter

import keras
import numpy as np
from fuzz_bytes import corrupt
from fuzz_folder import FolderFuzz
from helpers import tiny_variant

import keras_nfnets
from keras_nfnets.runs.folder import Run
from keras_nfnets.runs.settings import from_options
from keras_nfnets.training.optimizers import SGD
from keras_nfnets.weights import files as weight_files

# A good file takes a tenth of a second.
SECONDS = 60
# "inner" damages what is inside a `.keras`, whose checksums are right then.
KINDS = {
    "npz": "f.npz",
    "safetensors": "f.safetensors",
    "h5": "f.weights.h5",
    "keras": "f.keras",
    "inner": "f.keras",
    "run": "model.keras",
    "run-inner": "model.keras",
    # One file of a run folder or of its records, then one of the commands.
    "folder": None,
}
# Of what no good file has, and a model that was not loaded is full of.
MARK = np.float32(0.123456)


class Fuzz:
    """Tries corruptions of one small network's files.

    Args:
        folder: `pathlib.Path` of a folder for the files.
    """

    def __init__(self, folder):
        self.folder = folder
        # Every kind of layer once: most of the time goes into comparing.
        variant = tiny_variant(depths=(1,), widths=(16,), group_widths=(8,))
        self.model = keras_nfnets.NFNet(variant, classes=2)
        chance = np.random.default_rng(0)
        for variable in self.model.weights:
            value = chance.normal(size=variable.shape).astype("float32")
            variable.assign(value)
        self.saved = _values(self.model)
        self.good = {
            kind: self._file(kind) for kind in KINDS if kind != "folder"
        }
        self._restore()
        self.before = _values(self.model)
        self.folders = FolderFuzz(folder / "folder")
        self.run = Run(folder / "run")
        self.run.claim()
        source = argparse.Namespace(
            class_names=("a", "b"),
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            train_count=1,
            test_count=1,
        )
        self.run.write_config(from_options(), source)

    def _file(self, kind):
        path = self.folder / KINDS[kind]
        if kind == "h5":
            self.model.save_weights(path)
        elif path.suffix == ".keras":
            self.model.compile(SGD(0.1), "categorical_crossentropy")
            self.model.optimizer.build(self.model.trainable_variables)
            self.model.save(path)
        else:
            weight_files.write(self.model, path)
        return path.read_bytes()

    def attempt(self, kind, seed):
        """Returns what became of one corruption, in a word or two.

        Args:
            kind: String, a key of `KINDS`.
            seed: Integer.
        """
        chance = random.Random(seed)
        started = time.monotonic()
        faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if kind == "folder":
                    verdict = self.folders.attempt(chance)
                else:
                    content = damaged(kind, self.good[kind], chance)
                    verdict = self._judge(kind, self._load(kind, content))
                    self._restore()
        except (ValueError, OSError):
            same = self.before == _values(self.model)
            verdict = "refused" if same else "HALF LOADED"
        except Exception as error:
            verdict = f"RAISED {type(error).__name__}: {error}"
        finally:
            faulthandler.cancel_dump_traceback_later()
        if time.monotonic() - started > SECONDS:
            verdict = "HANGS"
        if verdict not in ("loaded", "refused"):
            self._restore()
        return verdict

    def _load(self, kind, content):
        if kind.startswith("run"):
            self.run.model.write_bytes(content)
            return self.run.load()[1]
        path = self.folder / KINDS[kind]
        path.write_bytes(content)
        weight_files.load(self.model, path)
        return self.model

    def _judge(self, kind, model):
        values = [keras.ops.convert_to_numpy(v) for v in model.weights]
        if not all(np.isfinite(value).all() for value in values):
            return "NOT FINITE"
        # Those of a zip have a checksum.
        whole = kind not in ("keras", "run") or _values(model) == self.saved
        left = kind != "run" and any((v == MARK).any() for v in values)
        return "loaded" if whole and not left else "HALF LOADED"

    def _restore(self):
        for variable in self.model.weights:
            variable.assign(np.full(variable.shape, MARK))


def _values(model):
    return [keras.ops.convert_to_numpy(v).tobytes() for v in model.weights]


def damaged(kind, content, chance):
    """Returns a file's content with some of it changed.

    Args:
        kind: String, a key of `KINDS`.
        content: Bytes.
        chance: `random.Random`.
    """
    if kind.endswith("inner"):
        return _inside(content, chance)
    return corrupt(content, chance)


def _inside(content, chance):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    # Mostly the weights, as they are what is read first.
    name = chance.choice(["model.weights.h5"] * 3 + ["config.json"])
    members[name] = corrupt(members[name], chance)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


def main():
    """Runs corruptions and prints how many ended how; 1 if one ended badly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", metavar="KIND", nargs="*", default=[*KINDS])
    parser.add_argument("--count", type=int, default=3000, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--log", help="file that is told each seed before")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        log = stack.enter_context(open(options.log or "/dev/null", "w"))
        fuzz = Fuzz(pathlib.Path(folder))
        bad = 0
        for kind in options.kinds or KINDS:
            found = Counter()
            for seed in range(options.first, options.first + options.count):
                print(kind, seed, file=log, flush=True)
                verdict = fuzz.attempt(kind, seed)
                found[verdict.split(":")[0]] += 1
                if verdict not in ("loaded", "refused"):
                    bad += 1
                    print(f"{kind} {seed}: {verdict[:300]}", flush=True)
            print(f"{kind}: {dict(found)}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
