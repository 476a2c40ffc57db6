"""The command line on a network and data that train in a second.

As a program it is `keras-nfnets` with these, for what a process of its own has
to show.
"""

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import sys

import pytest

from keras_nfnets import cli
from keras_nfnets.cli import commands
from keras_nfnets.data import digits, from_arrays
from keras_nfnets.recipes import RECIPES, Recipe
from keras_nfnets.runs import runner
from keras_nfnets.runs.folder import Run
from keras_nfnets.variants.table import VARIANTS, Variant

DIES = "KERAS_NFNETS_DIES"
TINY = Variant(
    depths=(2,),
    widths=(16,),
    stem_widths=(8, 8),
    stem_strides=(2, 2),
    two_convs=False,
    head_width=16,
    group_widths=(8,),
    dropout=0.2,
)
# All that a checkpoint has to bring back: averages, masks, mixed images.
RECIPE = Recipe(
    epochs=2,
    batch_size=32,
    learning_rate=0.1,
    warmup_epochs=0.5,
    stochastic_depth=0.5,
    clipping=0.04,
    agc_exclude=("skip_gain/gain$", "head/classifier/kernel$"),
    ema_decay=0.9,
    train_size=32,
    test_size=32,
    test_margin=0,
    random_crop=False,
    random_flip=False,
    randaugment_layers=0,
)
# All that does not depend on how many devices share a batch. In the network,
# each device draws masks of its own.
SHARED = dataclasses.replace(
    RECIPE,
    dropout=0.0,
    stochastic_depth=0.0,
    random_crop=True,
    random_flip=True,
    randaugment_layers=2,
    repeats=2,
    mix_partners="pairs",
)
# What a run's folder holds.
FILES = {
    "model.keras",
    "checkpoints",
    "history.csv",
    "curves.png",
    "config.json",
    "logs",
}


def few_digits(name="digits"):
    data = digits()
    return from_arrays(
        data.train_images[:96],
        data.train_labels[:96],
        data.test_images[:40],
        data.test_labels[:40],
        data.class_names,
    )


def finished_run(tmp_path_factory):
    """A copy of a run of two epochs, that all workers of pytest train once."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    path = shared / "finished"
    with open(shared / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            new = tmp_path_factory.mktemp("new") / "run"
            with small_table():
                arguments = ["train", "--recipe", "tiny", "--out", str(new)]
                assert cli.main(arguments) == 0
            new.rename(path)
    copy = tmp_path_factory.mktemp("runs") / "finished"
    return Run(shutil.copytree(path, copy))


@contextlib.contextmanager
def small_table():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "tiny", TINY)
        patch.setitem(VARIANTS, "shared", TINY)
        patch.setitem(RECIPES, "tiny", RECIPE)
        patch.setitem(RECIPES, "shared", SHARED)
        for module in (commands, runner):
            opened = module.open_source

            def open_source(name, *args, opened=opened, **kwargs):
                if name == "digits":
                    return few_digits()
                return opened(name, *args, **kwargs)

            patch.setattr(module, "open_source", open_source)
        yield patch


def die_at(patch, moment):
    """Has the process killed in the second batch of a part of an epoch.

    Args:
        patch: `pytest.MonkeyPatch`.
        moment: String, such as `"validation:3"`; epochs count from 0.
    """

    class Dying(runner.History):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            self.die("training", batch)

        def on_test_batch_begin(self, batch, logs=None):
            self.die("validation", batch)

        def die(self, part, batch):
            if (f"{part}:{self.epoch}", batch) == (moment, 1):
                os.kill(os.getpid(), signal.SIGKILL)

    patch.setattr(runner, "History", Dying)


if __name__ == "__main__":
    with small_table() as patch:
        die_at(patch, os.environ.get(DIES))
        sys.exit(cli.main(sys.argv[1:]))
