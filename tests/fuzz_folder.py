"""Corrupts one file of a run folder at random, and runs a command on it."""

import contextlib
import io
import shutil
from unittest import mock

import keras
import numpy as np
from fuzz_bytes import corrupt, corrupt_json

import keras_nfnets
from keras_nfnets import data, layers
from keras_nfnets.cli import commands, using
from keras_nfnets.runs import folder, runner
from keras_nfnets.runs.settings import from_options
from keras_nfnets.training.optimizers import SGD
from keras_nfnets.weights import keras as keras_files

FILES = (
    "run/config.json",
    "run/history.csv",
    "run/model.keras",
    "run/checkpoints/*/state.json",
    "run/checkpoints/*/model.keras",
    "records/dataset.json",
)


@contextlib.contextmanager
def hurried(load_model):
    """Leaves out what reads no file of the run and takes most of the time.

    Args:
        load_model: Function in the place of `keras_files.load_model`.
    """
    with contextlib.ExitStack() as stack:
        for owner, name in (
            (commands, "write"),
            (commands, "test_batches"),
            (runner, "test_batches"),
            (runner, "train_batches"),
            (keras.Model, "fit"),
            (folder, "draw_curves"),
        ):
            stack.enter_context(mock.patch.object(owner, name))
        values = dict.fromkeys(("accuracy", "top5_accuracy", "loss"), 0.5)
        for owner, name, other in (
            (keras.Model, "evaluate", lambda *args, **kwargs: values),
            (keras_files, "load_model", load_model),
        ):
            stack.enter_context(mock.patch.object(owner, name, other))
        yield


def small_classifier():
    """A network that loads in no time, compiled as that of a run is."""
    inputs = keras.Input((None, None, 3))
    x = layers.WSConv2D(4, 3, strides=2)(inputs)
    x = layers.VPActivation("gelu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(2, "softmax")(x)
    model = keras_nfnets.AGCModel(inputs, outputs)
    top5 = keras.metrics.TopKCategoricalAccuracy(5, name="top5_accuracy")
    model.compile(
        SGD(0.1),
        "categorical_crossentropy",
        weighted_metrics=["accuracy", top5],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def values_of(model):
    """Returns the bytes of each weight of a model."""
    return [keras.ops.convert_to_numpy(v).tobytes() for v in model.weights]


class FolderFuzz:
    """Tries corruptions of a run that is done, and of its records' index.

    Args:
        root: `pathlib.Path` of a folder for the files.
    """

    def __init__(self, root):
        self.folder = root / "now"
        self.good = root / "good"
        self.folder.mkdir(parents=True)
        self.run = folder.Run(self.folder / "run")
        self.image = self.folder / "image.png"
        pixels = np.random.default_rng(0).uniform(0, 255, (32, 32, 3))
        keras.utils.save_img(self.image, pixels, scale=False)
        pairs = [(self.image, 0), (self.image, 1)]
        records = self.folder / "records"
        data.write_records(records, ("a", "b"), pairs, pairs, shards=1)
        self._write_run(f"tfrecord:{records}")
        shutil.copytree(self.folder, self.good)
        self.content = self.run.model.read_bytes()
        self.load_model = keras_files.load_model
        self.model = self.load_model(self.run.model)
        self.saved = values_of(self.model)

    def _write_run(self, name):
        settings = from_options(
            data=name, batch_size=2, epochs=2, image_size=32
        )
        model = small_classifier()
        self.run.claim()
        self.run.write_config(settings, data.open_source(name))
        model.save(self.run.model)
        row = dict(loss=0.5, accuracy=0.25, val_loss=0.5, val_accuracy=0.5)
        row["images_per_second"] = 10.0
        rows = [dict(epoch=epoch, **row) for epoch in (1, 2)]
        self.run.write_history(rows)
        for epoch in (1, 2):
            self.run.checkpoints.save(model, epoch, rows[:epoch])
            # A model of the same bytes is loaded once.
            shutil.copy(self.run.model, self.run.checkpoints.steps()[-1])

    def load(self, content):
        """Returns the model of the run, whose file has this content."""
        self._restore()
        self.run.model.write_bytes(content)
        return self.run.load()[1]

    def _restore(self):
        shutil.rmtree(self.folder)
        shutil.copytree(self.good, self.folder)

    def attempt(self, chance):
        """Returns "loaded" or "refused"; other errors are raised.

        Args:
            chance: `random.Random`.
        """
        self._restore()
        path = chance.choice(sorted(self.folder.glob(chance.choice(FILES))))
        change = corrupt
        if path.suffix == ".json" and chance.random() < 0.7:
            change = corrupt_json
        path.write_bytes(change(path.read_bytes(), chance))
        aside = io.StringIO()
        with contextlib.redirect_stdout(aside), hurried(self._load):
            with contextlib.redirect_stderr(aside):
                return self._command(chance.randrange(4))

    def _load(self, path):
        """Loads a model, or returns the one at hand where no bit differs."""
        if path.exists() and path.read_bytes() == self.content:
            return self.model
        return self.load_model(path)

    def _command(self, number):
        run = self.run.path
        command = (
            lambda: commands.evaluate(run),
            lambda: using.predict([run, self.image]),
            lambda: commands.export(run),
            lambda: commands.train(run, resume=True),
        )[number]
        try:
            return "refused" if command() else "loaded"
        except (ValueError, OSError):
            return "refused"
