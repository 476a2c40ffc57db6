"""Trains by settings, and fills the run folder.

`train` opens the data and the devices, claims or resumes the folder, and hands
both to `_Training`. That makes the model and its callbacks, and calls `fit`.
"""

import contextlib

import keras

from keras_nfnets.callbacks import (
    AveragedWeights,
    FiniteLoss,
    HideAGCDetails,
    Progress,
)
from keras_nfnets.data import (
    SkippedImages,
    open_source,
    test_batches,
    train_batches,
    whole_shards,
)
from keras_nfnets.extras import require
from keras_nfnets.options import PRECISIONS
from keras_nfnets.overriding import overridden
from keras_nfnets.runs.building import compile_model, new_model
from keras_nfnets.runs.callbacks import (
    Checkpoint,
    History,
    ResumedMetrics,
    Signals,
)
from keras_nfnets.runs.finetuning import (
    as_trained,
    is_frozen,
    unfreeze,
    with_statistics,
)
from keras_nfnets.runs.folder import Run
from keras_nfnets.runs.report import print_plan
from keras_nfnets.runs.settings import Settings
from keras_nfnets.training import distribution


def train(
    run: Run,
    settings: Settings,
    overwrite: bool = False,
    resume: bool = False,
    download: bool = False,
) -> bool:
    """Trains a network, or resumes its training, and fills the run folder.

    With several processes each calls it, and one of them writes the folder.

    Args:
        run: `keras_nfnets.runs.Run`.
        settings: `keras_nfnets.runs.Settings`.
        overwrite: Boolean, whether a run that is there is replaced. Defaults
            to `False`.
        resume: Boolean, whether to go on from the newest checkpoint that can be
            read. Defaults to `False`.
        download: Boolean, see `open_source`. Defaults to `False`.

    Returns:
        Boolean, whether this is the process that wrote the folder.

    Raises:
        ValueError: If settings and data do not go together, or there is
            nothing to resume; the folder is then unchanged. Also if the loss is
            not finite, or too many images cannot be read.
        FileExistsError: If there is something at the path, and neither
            `overwrite` nor `resume` is true.
        FileNotFoundError: If the best model of a run to resume is gone.
        BlockingIOError: If another process is writing the run.
        ImportError: If matplotlib or TensorBoard is not installed.
        Terminated: After SIGTERM and a checkpoint.

    Example:

    >>> settings = keras_nfnets.runs.from_options(epochs=1, batch_size=256)
    >>> keras_nfnets.runs.train(keras_nfnets.runs.Run("runs/x"), settings)
    """
    for module in ("matplotlib.figure", "tensorboard"):
        require(module)
    if not (overwrite or resume):
        run.check_free()
    # The scope comes first: JAX cannot join other processes once it has
    # computed anything.
    with distribution.scope() as devices, _precision(settings.precision):
        source = open_source(settings.data, settings.max_pixels, download)
        if resume:
            run.check_source(source)
            source = as_trained(source, run)
        else:
            source = with_statistics(source, settings)
        training = _Training(run, settings, source, devices)
        if not resume:
            keras.utils.set_random_seed(settings.seed)
            model, state = training.new_model(), {}
            if devices.is_chief:
                run.claim(overwrite)
        with run.lock() if devices.is_chief else contextlib.nullcontext():
            if resume:
                model, state = training.resumed()
            elif devices.is_chief:
                run.write_config(settings, source)
            training.go(model, state, new=not resume)
    return devices.is_chief


@contextlib.contextmanager
def _precision(name):
    """Sets Keras's dtype policy while the block runs."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[name])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class _Training:
    """Holds what one training needs: settings, data and devices."""

    def __init__(self, run, settings, source, devices):
        self.run = run
        self.settings = settings
        self.recipe = settings.recipe
        self.source = source
        self.devices = devices
        devices.check_batch(self.recipe.batch_size)
        self.steps_per_epoch = source.train_count // self.recipe.batch_size
        if not self.steps_per_epoch:
            raise ValueError(
                "`batch_size` must not be above the number of training "
                f"images, {source.train_count}. "
                f"Received: batch_size={self.recipe.batch_size}"
            )

    def go(self, model, state, new):
        """Trains, and draws the curves.

        A new run that fails before its first checkpoint leaves no files behind.
        """
        is_chief = self.devices.is_chief
        if is_chief:
            print_plan(
                self.settings,
                self.source,
                model,
                self.steps_per_epoch,
                self.devices,
            )
        try:
            with whole_shards(self.source):
                self.fit(model, **state)
        except Exception:
            if is_chief and new:
                self.run.abandon()
            raise
        finally:
            if is_chief:
                self.run.draw_curves()

    def resumed(self):
        """Returns model and state of the newest checkpoint that can be read."""
        self.run.check_model()
        # Raises for a damaged history, which would be overwritten below.
        self.run.read_history()
        model, state = self.run.checkpoints.load()
        if self.devices.is_chief and state["history"]:
            self.run.write_history(state["history"])
        return model, state

    def new_model(self):
        """Returns the compiled network, with its optimizer built."""
        return new_model(self.settings, self.source, self.steps_per_epoch)

    def fit(self, model, step=0, metrics=(), history=()):
        """Trains from a step on to the end of the run.

        Keras has one number of steps for all epochs of a `fit`. An unfinished
        epoch therefore takes a `fit` of its own. So do the epochs in which the
        classifier alone is trained, and the others.

        Args:
            model: A compiled model.
            step: Integer, batches that the run has seen. Defaults to `0`.
            metrics: List, metrics of the unfinished epoch. Defaults to none.
            history: List of dictionaries, one per finished epoch. Defaults to
                none.
        """
        callbacks, signals = self._callbacks(step, history)
        test = test_batches(self.source, self.recipe, **self._hosts())
        if step % self.steps_per_epoch:
            # Keras creates the variables of metrics at the first evaluation.
            model.evaluate(test.take(1), verbose=0)
            callbacks.append(ResumedMetrics(metrics))
        with signals:
            while step < self.recipe.epochs * self.steps_per_epoch:
                epoch, done = divmod(step, self.steps_per_epoch)
                last = self.recipe.epochs
                if epoch < self.settings.freeze_epochs:
                    last = self.settings.freeze_epochs
                elif is_frozen(model):
                    unfreeze(model)
                    compile_model(model, self.settings, self.steps_per_epoch)
                end = epoch + 1 if done else last
                self._fit_to(end, step, model, test, [*callbacks, signals])
                step = end * self.steps_per_epoch

    def _fit_to(self, end, step, model, test, callbacks):
        """Trains from a step on to the end of an epoch, without a break.

        Args:
            end: Integer, how many epochs the run then has.
            step: Integer, batches that the run has seen.
            model: The compiled model.
            test: The held-out batches.
            callbacks: List of callbacks.
        """
        # Keras would overwrite the weights with their averages after a `fit`.
        keeps_weights = (
            model.optimizer,
            "finalize_variable_values",
            lambda variables: None,
        )
        epoch, done = divmod(step, self.steps_per_epoch)
        with overridden(keeps_weights):
            model.fit(
                train_batches(
                    self.source,
                    self.recipe,
                    self.settings.seed,
                    first_step=step,
                    **self._hosts(),
                ),
                initial_epoch=epoch,
                epochs=end,
                steps_per_epoch=self.steps_per_epoch - done,
                shuffle=False,
                validation_data=test,
                callbacks=callbacks,
                verbose="auto" if self.devices.is_chief else 0,
            )

    def _hosts(self):
        return dict(host=self.devices.host, hosts=self.devices.hosts)

    def _callbacks(self, step, rows):
        """Returns the callbacks of a run, in the order that they need.

        A callback sees what those before it put into the logs.
        `AveragedWeights` comes first, so that others evaluate the averages.
        `FiniteLoss` stops a bad epoch before `History` and `Checkpoint` write
        it. `Checkpoint` saves the history, so it follows it.
        """
        history = History(self.run, rows)
        averages = None
        if self.recipe.ema_decay is not None:
            averages = AveragedWeights()
        checkpoint = Checkpoint(
            self.run,
            self.steps_per_epoch,
            step,
            best=history.best("val_accuracy"),
            averages=averages,
            writes=self.devices.is_chief,
            history=history,
        )
        steps = self.recipe.epochs * self.steps_per_epoch
        callbacks = [
            *([averages] if averages else []),
            SkippedImages(
                self.source,
                self.recipe.batch_size,
                images_per_step=self.recipe.images_per_step,
            ),
            FiniteLoss(),
            Progress(self.recipe.batch_size, steps),
        ]
        if self.devices.is_chief:
            callbacks += [
                history,
                keras.callbacks.TensorBoard(self.run.logs, write_graph=False),
            ]
        return [*callbacks, checkpoint, HideAGCDetails()], Signals(checkpoint)
