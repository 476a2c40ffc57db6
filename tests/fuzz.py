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
from fuzz_folder import FolderFuzz, values_of
from helpers import tiny_variant

import keras_nfnets
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
}
# Of the model of a run, and of any file of a run or index of records.
RUN_KINDS = ("run", "run-inner", "folder")
ALL_KINDS = (*KINDS, *RUN_KINDS)
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
        self.saved = values_of(self.model)
        self.good = {kind: self._file(kind) for kind in KINDS}
        self._restore()
        self.before = values_of(self.model)
        self.run = FolderFuzz(folder / "folder")

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
            kind: String, one of `ALL_KINDS`.
            seed: Integer.
        """
        chance = random.Random(seed)
        started = time.monotonic()
        faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                verdict = self._verdict(kind, chance)
        except (ValueError, OSError):
            same = self.before == values_of(self.model)
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

    def _verdict(self, kind, chance):
        if kind == "folder":
            return self.run.attempt(chance)
        if kind in RUN_KINDS:
            content = damaged(kind, self.run.content, chance)
            model, saved = self.run.load(content), self.run.saved
        else:
            content = damaged(kind, self.good[kind], chance)
            model, saved = self._load(kind, content), self.saved
        verdict = _judge(kind, model, saved)
        self._restore()
        return verdict

    def _load(self, kind, content):
        path = self.folder / KINDS[kind]
        path.write_bytes(content)
        weight_files.load(self.model, path)
        return self.model

    def _restore(self):
        for variable in self.model.weights:
            variable.assign(np.full(variable.shape, MARK))


def _judge(kind, model, saved):
    arrays = [keras.ops.convert_to_numpy(v) for v in model.weights]
    if not all(np.isfinite(array).all() for array in arrays):
        return "NOT FINITE"
    # Those of a zip have a checksum.
    whole = kind not in ("keras", "run") or values_of(model) == saved
    left = any((array == MARK).any() for array in arrays)
    return "loaded" if whole and not left else "HALF LOADED"


def damaged(kind, content, chance):
    """Returns a file's content with some of it changed.

    Args:
        kind: String, one of `ALL_KINDS`.
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
    parser.add_argument("kinds", metavar="KIND", nargs="*", default=ALL_KINDS)
    parser.add_argument("--count", type=int, default=3000, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--log", help="file that is told each seed before")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        log = stack.enter_context(open(options.log or "/dev/null", "w"))
        fuzz = Fuzz(pathlib.Path(folder))
        bad = 0
        for kind in options.kinds:
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
