"""A SavedModel serves what the model computes, with TensorFlow alone."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import evaluate

from keras_nfnets import NFNet
from keras_nfnets.data import normalize
from keras_nfnets.export import export_saved_model, fold
from keras_nfnets.layers import WSConv2D
from keras_nfnets.variants.table import Variant

TINY = Variant(
    depths=(1,),
    widths=(16,),
    stem_widths=(8, 8, 8, 8),
    head_width=16,
    group_widths=(8,),
)
PREDICT = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[3], model.serve(tf.constant(np.load(sys.argv[2]))))
sys.exit("keras_nfnets" in sys.modules)
"""

writes_saved_models = pytest.mark.skipif(
    keras.backend.backend() not in ("tensorflow", "jax"),
    reason="a SavedModel is written with TensorFlow or JAX",
)


@pytest.fixture
def model():
    return NFNet(TINY, input_shape=(32, 32, 2), classes=3)


@writes_saved_models
# What Keras says to JAX.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The `native_serialization`")
def test_saved_model_needs_tensorflow_alone(tmp_path, model):
    pytest.importorskip("tensorflow")
    mean, std = (100.0, 50.0), (60.0, 30.0)
    folder, images, outputs = (
        str(tmp_path / name) for name in ("saved_model", "x.npy", "y.npy")
    )
    export_saved_model(model, folder, mean, std)
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 32, 32, 2))
    np.save(images, pixels.astype("float32"))
    subprocess.run(
        [sys.executable, "-c", PREDICT, folder, images, outputs], check=True
    )
    expected = evaluate(model, normalize(pixels, mean, std))
    np.testing.assert_allclose(np.load(outputs), expected, atol=1e-5)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["saved_model", "x.npy", "y.npy"]


@writes_saved_models
@pytest.mark.filterwarnings("ignore:The `native_serialization`")
def test_an_empty_batch_gives_an_empty_answer(tmp_path, model):
    tf = pytest.importorskip("tensorflow")
    export_saved_model(model, tmp_path / "saved_model")
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    for count in (0, 2):
        answer = served.serve(tf.zeros((count, 32, 32, 2)))
        assert answer.shape == (count, 3)


@pytest.mark.long
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only it may use oneDNN"
)
def test_groups_are_served_where_there_is_no_onednn(tmp_path):
    inputs = keras.Input((8, 8, 6))
    layer = WSConv2D(12, 3, padding="same", groups=3, bias_initializer="ones")
    model = keras.Model(inputs, layer(inputs))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype("float32")
    files = [tmp_path / name for name in ("model", "x.npy", "y.npy")]
    model.export(files[0], verbose=False)
    np.save(files[1], x)
    subprocess.run(
        [sys.executable, "-c", PREDICT, *files],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"},
        check=True,
    )
    expected = evaluate(model, x)
    np.testing.assert_allclose(
        np.load(files[2]), expected, rtol=1e-5, atol=1e-5
    )


@writes_saved_models
@pytest.mark.filterwarnings("ignore:The `native_serialization`")
def test_each_weight_is_written_once(tmp_path, model):
    tf = pytest.importorskip("tensorflow")
    export_saved_model(model, tmp_path / "saved_model")
    checkpoint = tmp_path / "saved_model" / "variables" / "variables"
    written = tf.train.load_checkpoint(str(checkpoint))
    shapes = written.get_variable_to_shape_map()
    shapes.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    weights = fold(model).weights
    expected = sorted(tuple(weight.shape) for weight in weights)
    assert sorted(tuple(shape) for shape in shapes.values()) == expected


@writes_saved_models
def test_std_must_be_positive(tmp_path, model):
    pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match="`std` must be positive"):
        export_saved_model(model, tmp_path / "saved_model", 0.0, (1.0, 0.0))
    assert not any(tmp_path.iterdir())


@writes_saved_models
def test_inputs_must_be_one_of_images(tmp_path):
    pytest.importorskip("tensorflow")
    vector = keras.Input((5,))
    dense = keras.layers.Dense(2)
    for model in (
        keras.Model(vector, dense(vector)),
        keras.Model([vector, vector], dense(vector)),
    ):
        with pytest.raises(ValueError, match="one input of images"):
            export_saved_model(model, tmp_path / "saved_model")
    assert not any(tmp_path.iterdir())


@writes_saved_models
@pytest.mark.filterwarnings("ignore:The `native_serialization`")
def test_failed_export_leaves_the_old_one(tmp_path, model, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    folder = tmp_path / "saved_model"
    folder.mkdir()
    (folder / "saved_model.pb").write_text("old")

    def save_half(module, path, *args, **kwargs):
        Path(path).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", save_half)
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(model, folder)
    assert (folder / "saved_model.pb").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]


def test_other_backends_say_what_to_do(tmp_path, model, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=tensorflow.*'torch'"):
        export_saved_model(model, tmp_path / "saved_model")


def test_missing_tensorflow_names_the_extra(tmp_path, model, monkeypatch):
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch is refused before")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"'keras-nfnets\[tensorflow\]'"):
        export_saved_model(model, tmp_path / "saved_model")


@writes_saved_models
def test_a_folder_of_other_things_stays(tmp_path, model):
    chapter = tmp_path / "thesis" / "chapter"
    chapter.parent.mkdir()
    chapter.write_text("mine")
    with pytest.raises(FileExistsError, match="holds other things than a Sav"):
        export_saved_model(model, chapter.parent)
    assert chapter.read_text() == "mine"


@writes_saved_models
@pytest.mark.filterwarnings("ignore:The `native_serialization`")
def test_full_disk_names_the_path(tmp_path, model, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    errors = tf.errors

    def fail(*args, **kwargs):
        raise errors.ResourceExhaustedError(None, None, reasons.pop())

    reasons = ["OOM when allocating", "x/.part; No space left on device"]
    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="No space left.*: '.*/saved_model'"):
        export_saved_model(model, tmp_path / "saved_model")
    # It is not the disk each time.
    with pytest.raises(errors.ResourceExhaustedError, match="allocating"):
        export_saved_model(model, tmp_path / "saved_model")
    assert not any(tmp_path.iterdir())
