"""A run starts from trained weights, frozen at first, and can be resumed."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers import BACKEND, without_speed
from small_runs import TINY, few_digits, finished_run, small_table

import keras_nfnets
from keras_nfnets import cli
from keras_nfnets.recipes import RECIPES
from keras_nfnets.runs import finetuning, from_options, runner
from keras_nfnets.runs.callbacks import Checkpoint
from keras_nfnets.runs.folder import Run
from keras_nfnets.variants.table import VARIANTS

for module in ("matplotlib", "PIL", "sklearn", "tensorflow"):
    pytest.importorskip(module)

CLASSIFIER = "head/classifier/"
EPOCHS, FROZEN = 3, 2


@pytest.fixture(autouse=True)
def patch():
    with small_table() as patch:
        yield patch


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A run that no test changes, to start from."""
    return finished_run(tmp_path_factory)


def arguments(origin, out):
    return [
        *("train", "--recipe", "tiny", "--weights", str(origin.path)),
        *("--epochs", str(EPOCHS), "--freeze-epochs", str(FROZEN)),
        *("--out", str(out)),
    ]


@pytest.fixture(scope="module")
def tuned(origin, tmp_path_factory):
    """A run from `origin` without a break."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    with small_table():
        assert cli.main(arguments(origin, out)) == 0
    return Run(out)


def backbone(model):
    return {
        v.path: keras.ops.convert_to_numpy(v)
        for v in model.weights
        if not v.path.startswith(CLASSIFIER)
    }


def equal(ours, theirs):
    return [np.array_equal(ours[name], theirs[name]) for name in theirs]


@pytest.mark.long
def test_classifier_alone_is_trained_at_first(origin, tuned):
    _, before = origin.load()
    frozen, last = (
        keras.models.load_model(path / "model.keras")
        for path in tuned.checkpoints.steps()
    )
    assert finetuning.is_frozen(frozen) and not finetuning.is_frozen(last)
    assert all(equal(backbone(frozen), backbone(before)))
    first = "stem/conv0/kernel"
    assert (backbone(last)[first] != backbone(before)[first]).any()
    for model in (frozen, last):
        old = before.get_layer("head").classifier.get_weights()
        new = model.get_layer("head").classifier.get_weights()
        assert not np.array_equal(old[0], new[0])
    # Each part has a schedule of its own; the rest is unfrozen at its start.
    assert int(frozen.optimizer.iterations) == FROZEN * 3
    assert int(last.optimizer.iterations) == (EPOCHS - FROZEN) * 3


@pytest.mark.long
def test_history_has_no_clipping_where_nothing_is_clipped(tuned):
    rows = tuned.read_history()
    clipped = [row["agc_clipped"] for row in rows]
    assert [np.isnan(x) for x in clipped] == [True, True, False]


@pytest.mark.long
def test_it_can_be_used(tuned, capsys):
    assert cli.main(["evaluate", str(tuned.path)]) == 0
    best = max(row["val_accuracy"] for row in tuned.read_history())
    assert f"{best:.4f}" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.skipif(
    BACKEND == "torch", reason="dropout draws from PyTorch's own generator"
)
def test_resumed_while_frozen_it_ends_alike(origin, tuned, tmp_path, patch):
    class Interrupting(Checkpoint):
        def on_epoch_begin(self, now, logs=None):
            if now == 1:
                raise KeyboardInterrupt

    run = Run(tmp_path / "run")
    with small_table() as inner:
        inner.setattr(runner, "Checkpoint", Interrupting)
        assert cli.main(arguments(origin, run.path)) == cli.INTERRUPTED
    assert cli.main(["train", "--out", str(run.path), "--resume"]) == 0
    ours, theirs = (r.checkpoints.load()[0] for r in (run, tuned))
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    ours, theirs = (without_speed(r.read_history()) for r in (run, tuned))
    np.testing.assert_equal(ours, theirs)


def test_pixels_are_normalized_as_for_the_weights(origin):
    source = few_digits()
    other = dataclasses.replace(source, mean=(1.0,), std=(2.0,))
    settings = from_options(recipe="tiny", weights=str(origin.path))
    same = finetuning.with_statistics(other, settings)
    assert (same.mean, same.std) == (source.mean, source.std)
    # Those of three channels are averaged for grey images.
    settings = dataclasses.replace(settings, weights="imagenet")
    grey = finetuning.with_statistics(other, settings)
    assert grey.mean == pytest.approx((np.mean(TINY.pixel_mean),))
    assert finetuning.as_trained(other, origin).mean == source.mean


def test_options_follow_from_a_run_or_a_file(origin, tmp_path, patch):
    options = dict(recipe="finetune", weights=str(origin.model))
    known = finetuning.completed(options)
    assert known == options | dict(variant="tiny", image_size=32)
    assert finetuning.completed(options | dict(variant="x"))["variant"] == "x"
    file = str(tmp_path / "tiny.weights.h5")
    keras_nfnets.NFNet(TINY, classes=7).save_weights(file)
    options["weights"] = file
    with pytest.raises(ValueError, match="which fit tiny and shared"):
        finetuning.completed(options)
    patch.delitem(VARIANTS, "shared")
    assert finetuning.completed(options)["variant"] == "tiny"


def test_images_are_framed_as_for_the_weights(origin, tmp_path):
    given = dict(recipe="finetune", weights=str(origin.path))
    recipe = finetuning.settings_of(given).recipe
    assert not (recipe.random_crop or recipe.random_flip or recipe.test_margin)
    # All else is the recipe's own.
    assert recipe.randaugment_layers == 1
    # One for a network is taken as it is.
    own = finetuning.settings_of(dict(given, recipe="nfnet_f0")).recipe
    assert own == RECIPES["nfnet_f0"]


def test_weights_of_three_channels_and_other_classes(tmp_path):
    file = str(tmp_path / "rgb.weights.h5")
    rgb = keras_nfnets.NFNet(TINY, classes=7)
    rgb.save_weights(file)
    grey = keras_nfnets.NFNet(TINY, input_shape=(None, None, 1), classes=10)
    finetuning.load(grey, from_options(recipe="tiny", weights=file))
    ours, theirs = backbone(grey), backbone(rgb)
    first = "stem/conv0/kernel"
    expected = theirs.pop(first).sum(2, keepdims=True)
    # float32 sums of three numbers, in some order.
    np.testing.assert_allclose(ours[first], expected, rtol=0, atol=1e-6)
    assert all(equal(ours, theirs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "none.weights.h5"], "none.weights.h5"),
        (["--weights", "other"], "must be of the same network"),
        (["--freeze-epochs", "1"], "`freeze_epochs` must be 0 without"),
        (
            ["--weights", "other", "--freeze-epochs", "3"],
            "`freeze_epochs` must not be above `epochs`. Received: "
            "freeze_epochs=3 and epochs=2",
        ),
    ],
)
def test_bad_input_leaves_no_folder(options, message, tmp_path, capsys):
    other = str(tmp_path / "other.weights.h5")
    if options[:2] == ["--weights", "other"]:
        wider = dataclasses.replace(TINY, widths=(24,))
        keras_nfnets.NFNet(wider).save_weights(other)
        options = ["--weights", other, *options[2:]]
    out = tmp_path / "run"
    command = ["train", "--recipe", "tiny", "--out", str(out), *options]
    assert cli.main(command) == cli.BAD_REQUEST
    assert message in capsys.readouterr().err
    assert not out.exists()
