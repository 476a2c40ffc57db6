"""`keras-nfnets predict` takes a variant and somebody's weights."""

import json

import keras
import numpy as np
import pytest
from helpers import BACKEND, tiny_variant

import keras_nfnets
from keras_nfnets import VARIANTS, cli
from keras_nfnets.weights import files as weight_files

pytest.importorskip("PIL")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="files and words: one backend is enough"
)
NAMES = keras.src.applications.imagenet_utils


@pytest.fixture(autouse=True)
def patch(monkeypatch):
    row = tiny_variant(test_size=48, dropout=0.0)
    monkeypatch.setitem(VARIANTS, "tiny", row)
    index = {str(i): [f"n{i:08}", f"name_{i}"] for i in range(1000)}
    monkeypatch.setattr(NAMES, "CLASS_INDEX", json.loads(json.dumps(index)))
    return monkeypatch


@pytest.fixture
def predict(capfd):
    def run(*arguments):
        capfd.readouterr()
        arguments = ["--variant", "tiny", *map(str, arguments)]
        status = cli.main(["predict", *arguments])
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def photo(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "photo.png"
    keras.utils.save_img(path, random.uniform(0, 255, (70, 90, 3)), scale=False)
    return path


def expected(model, path, size):
    image = np.asarray(keras.utils.load_img(path), "float32")
    crop = keras_nfnets.evaluation_crop(image, "tiny", size)
    x = keras_nfnets.preprocess_input(crop)[None]
    (row,) = keras.ops.convert_to_numpy(model(x))
    return row.argmax(), row.max()


def model_with_opinions(classes):
    model = keras_nfnets.NFNet("tiny", classes=classes)
    kernel = model.get_layer("head").classifier.kernel
    kernel.assign(keras.random.normal(kernel.shape, seed=1))
    return model


@pytest.mark.parametrize("size", [None, 40])
@pytest.mark.parametrize("classes, label", [(5, "class {}"), (1000, "name_{}")])
def test_photo_with_a_converted_file(
    predict, tmp_path, photo, classes, label, size
):
    model = model_with_opinions(classes)
    weight_files.write(model, tmp_path / "tiny.safetensors")
    options = [] if size is None else ["--size", size]
    status, output, errors = predict(
        "--weights", tmp_path / "tiny.safetensors", *options, photo
    )
    best, probability = expected(model, photo, size)
    assert status == 0, errors
    path, name, number = output.rstrip("\n").split("\t")
    assert (path, name) == (str(photo), label.format(best))
    # Four digits are printed.
    assert float(number) == pytest.approx(probability, abs=1e-4)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".npz"])
def test_every_kind_of_file(predict, tmp_path, photo, suffix):
    model = model_with_opinions(5)
    path = tmp_path / f"tiny{suffix}"
    if suffix == ".npz":
        weight_files.write(model, path)
    else:
        save = model.save if suffix == ".keras" else model.save_weights
        save(path)
    status, output, _ = predict("--weights", path, photo)
    best, _ = expected(model, photo, None)
    assert status == 0 and f"\tclass {best}\t" in output


def test_without_names_the_number_is_printed(predict, tmp_path, photo, patch):
    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure")

    patch.setattr(NAMES, "CLASS_INDEX", None)
    patch.setattr(NAMES.file_utils, "get_file", refuse)
    weight_files.write(model_with_opinions(1000), tmp_path / "f.safetensors")
    status, output, _ = predict("--weights", tmp_path / "f.safetensors", photo)
    assert status == 0 and "\tclass " in output


def test_bad_image_among_good_ones(predict, tmp_path, photo):
    weight_files.write(model_with_opinions(5), tmp_path / "f.safetensors")
    (tmp_path / "text.png").write_text("not an image")
    status, output, errors = predict(
        "--weights", tmp_path / "f.safetensors", tmp_path / "text.png", photo
    )
    assert status == cli.SOME_FAILED
    assert output.startswith(f"{photo}\t") and "text.png: not a PNG" in errors


def test_names_are_printed_on_one_line(predict, tmp_path, photo):
    weight_files.write(model_with_opinions(5), tmp_path / "f.safetensors")
    good = photo.rename(tmp_path / "a\n\t\x1b[2J\u202e.png")
    bad = tmp_path / "b\n\x1b[2J.png"
    bad.write_text("not an image")
    status, output, errors = predict(
        "--weights", tmp_path / "f.safetensors", good, bad
    )
    assert status == cli.SOME_FAILED
    assert output.startswith(f"{tmp_path}/a\\n\\t\\x1b[2J\\u202e.png\t")
    assert output.count("\n") == 1 and output.count("\t") == 2
    assert f"{tmp_path}/b\\n\\x1b[2J.png: not a PNG" in errors
    assert errors.count("\n") == 1


def test_requests_that_cannot_be_met(predict, tmp_path, photo):
    status, _, errors = predict(photo)
    assert (
        status == cli.BAD_REQUEST
        and "both of `variant` and `weights`" in errors
    )
    status, _, errors = predict("--weights", tmp_path / "none.npz", photo)
    assert status == cli.BAD_REQUEST and "none.npz" in errors
    headless = keras_nfnets.NFNet("tiny", include_top=False)
    weight_files.write(headless, tmp_path / "f.safetensors")
    status, _, errors = predict("--weights", tmp_path / "f.safetensors", photo)
    assert status == cli.BAD_REQUEST and "with a classifier" in errors
    status = cli.main(["predict", str(tmp_path)])
    assert status == cli.BAD_REQUEST
