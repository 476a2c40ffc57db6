"""What every supported version of Keras and its backends has to do."""

import importlib.util

import keras
import numpy as np
import pytest
from helpers import tiny_variant, to_numpy

import keras_nfnets
from keras_nfnets import cli, data, export, private_names

pytestmark = pytest.mark.skipif(
    keras.__version__ == private_names.TESTED[-1],
    reason="on the newest Keras the other tests do all this",
)
without_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None,
    reason="TensorFlow is installed",
)
IMAGES = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
LABELS = np.arange(8) % 3


@pytest.fixture(scope="module", params=[None, keras_nfnets.SAM()])
def trained(request):
    """A network after four steps with AGC, and their history."""
    keras.utils.set_random_seed(0)
    variant = tiny_variant(depths=(1, 2), widths=(16, 16))
    model = keras_nfnets.NFNet(variant, input_shape=(32, 32, 3), classes=3)
    model.compile(
        keras_nfnets.optimizers.SGD(0.1, momentum=0.9, use_ema=True),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        sam=request.param,
    )
    before = model.get_weights()
    history = model.fit(IMAGES, LABELS, batch_size=4, epochs=2, verbose=0)
    return model, before, history.history


def test_fit_moves_the_weights_and_clips(trained):
    model, before, history = trained
    assert int(model.optimizer.iterations) == 4
    assert np.isfinite(history["loss"]).all()
    assert 0 < history["agc_clipped"][0] <= 1
    # Gains of one hardly have a gradient while the skip gains are near zero.
    still = [
        v.path
        for v, old in zip(model.weights, before, strict=True)
        if np.array_equal(to_numpy(v), old) and not v.path.endswith("gain")
    ]
    assert not still


with_sam = pytest.mark.parametrize(
    "trained", [keras_nfnets.SAM()], indirect=True
)


@with_sam
def test_evaluate_of_the_saved_model(trained, tmp_path):
    model, *_ = trained
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(
        model.variables + model.optimizer.variables,
        loaded.variables + loaded.optimizer.variables,
        strict=True,
    ):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))
    values = (m.evaluate(IMAGES, LABELS, verbose=0) for m in (model, loaded))
    np.testing.assert_array_equal(*values)
    # It goes on from the same optimizer.
    assert np.isfinite(loaded.train_on_batch(IMAGES, LABELS)[0])


@with_sam
def test_fold_computes_the_same(trained, tmp_path):
    model, *_ = trained
    folded = export.fold(model)
    folded.save(tmp_path / "folded.keras")
    copy = keras.models.load_model(tmp_path / "folded.keras")
    expected = model.predict(IMAGES, verbose=0)
    # Probabilities; a kernel rounds otherwise than the factors it took up.
    np.testing.assert_allclose(
        copy.predict(IMAGES, verbose=0), expected, atol=1e-5
    )


def test_a_model_that_vanishes_as_a_whole():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(inputs))
    folded = export.fold(model)
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(folded.predict(x, verbose=0), x)


@without_tensorflow
@pytest.mark.parametrize(
    "call",
    [
        lambda: data.read_image("photo.png", None, 3),
        lambda: data.test_batches(
            data.from_arrays(IMAGES, LABELS, IMAGES, LABELS, "abc"),
            keras_nfnets.recipes.get("nfnet_pico"),
        ),
        lambda: export.export_saved_model(
            keras_nfnets.NFNet(tiny_variant(), classes=3), "saved_model"
        ),
    ],
)
def test_what_needs_tensorflow_says_so(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImportError, match=r"'keras-nfnets\[tensorflow\]'"):
        call()
    assert not any(tmp_path.iterdir())


@without_tensorflow
def test_the_command_line_says_so_too(tmp_path, capsys):
    status = cli.main(["train", "--out", str(tmp_path / "run")])
    errors = capsys.readouterr().err
    assert status == cli.BAD_REQUEST and errors.count("\n") == 1
    assert "pip install 'keras-nfnets[tensorflow]'" in errors
    assert not any(tmp_path.iterdir())
