"""A classifier names what images show, the same from every kind of model."""

import dataclasses
import io
import json
import os
import sys

import numpy as np
import pytest
from helpers import BACKEND
from photo_runs import NAMES, SIDE, make_run, photo

import keras_nfnets
from keras_nfnets import Classifier, cli
from keras_nfnets.cli import commands
from keras_nfnets.data.images import decode_content
from keras_nfnets.export import Description

for module in ("tensorflow", "PIL", "matplotlib"):
    pytest.importorskip(module)
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="files and words: one backend is enough"
)
FORMATS = ["saved_model", "keras", "onnx", "litert"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier(run.path)


@pytest.fixture
def command(capfd):
    def call(*arguments):
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return call


def photos(run):
    return sorted((run.path.parent / "photos" / "val").rglob("*.*"))


def test_paths_bytes_and_arrays_are_one_image(run, classifier):
    path = photos(run)[0]
    content = path.read_bytes()
    pixels = decode_content(content, 3, 10**6, "photo")
    expected = classifier.classify(path)
    assert [len(row) for row in expected] == [5]
    assert expected == sorted(expected, key=lambda pair: -pair[0][1])
    several = [str(path), content, pixels, pixels.astype("float32")]
    # A batch may be summed in another order than one image.
    for row in [*classifier.classify(several, batch_size=3)]:
        assert [name for name, _ in row] == [name for name, _ in expected[0]]
        np.testing.assert_allclose(
            [p for _, p in row], [p for _, p in expected[0]], atol=1e-6
        )
    assert classifier.classify(pixels[None]) == expected
    assert classifier.classify([]) == []


def test_probabilities_are_the_models(run, classifier):
    config, model = run.load()
    pixels = np.stack([classifier.read(path) for path in photos(run)])
    assert pixels.shape[1:] == (SIDE, SIDE, 3)
    x = keras_nfnets.data.normalize(pixels, config["mean"], config["std"])
    rows = np.asarray(model.predict_on_batch(x))
    for row, named in zip(
        rows, classifier.classify(photos(run), top=9), strict=True
    ):
        assert len(named) == len(NAMES)
        np.testing.assert_allclose(
            [row[NAMES.index(n)] for n, _ in named],
            [p for _, p in named],
            atol=1e-6,
        )


def test_grey_becomes_three_equal_colours(classifier):
    grey = np.arange(64 * 50, dtype="uint8").reshape(64, 50)
    colours = np.stack([grey] * 3, -1)
    for image in (grey, grey[..., None]):
        np.testing.assert_array_equal(
            classifier.read(image), classifier.read(colours)
        )


@pytest.mark.parametrize("format", FORMATS)
def test_exported_files_say_the_same(format, run, classifier, tmp_path):
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
    path = tmp_path / f"file{commands.FORMATS[format].suffix}"
    commands.export(run.path, format=format, out=path)
    files = photos(run)[:3]
    found = Classifier(path).classify(files)
    for row, its in zip(found, classifier.classify(files), strict=True):
        assert [name for name, _ in row] == [name for name, _ in its]
        np.testing.assert_allclose(
            [p for _, p in row], [p for _, p in its], atol=1e-5
        )


def test_a_runtime_takes_what_was_exported_into_the_run(run):
    with pytest.raises(FileNotFoundError, match="--format openvino` writes it"):
        Classifier(run.path, runtime="openvino")
    path = run.path / "model.keras"
    assert Classifier(path).classify(photo()) == Classifier(run.path).classify(
        photo()
    )


def test_missing_runtime_names_the_extra(tmp_path, monkeypatch, classifier):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    classifier.description.write(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"'keras-nfnets\[onnx\]'"):
        Classifier(path)


def test_bad_input(tmp_path, run, classifier):
    with pytest.raises(ValueError, match="either `model` or both"):
        Classifier()
    with pytest.raises(ValueError, match="`size` must be given with"):
        Classifier(run.path, size=32)
    with pytest.raises(ValueError, match="`runtime` must be one of"):
        Classifier(run.path, runtime="caffe")
    with pytest.raises(FileNotFoundError, match="must be a path that is"):
        Classifier(tmp_path / "none.onnx")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="must be one that runs"):
        Classifier(tmp_path / "model.onnx", runtime="litert")
    with pytest.raises(ValueError, match="model.onnx.json' must be the desc"):
        Classifier(tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="bytes: not a PNG or JPEG image"):
        classifier.classify(b"text")
    for shape in ((0, 4, 3), (4, 4, 2), (4,)):
        with pytest.raises(ValueError, match="`image` must have the shape"):
            classifier.read(np.zeros(shape))


def test_arrays_that_are_no_pixels_are_refused(classifier):
    image = np.full((8, 9, 3), 7, "uint8")
    expected = classifier.read(image)
    for same in (image.astype("uint32"), image.astype("float16")):
        np.testing.assert_array_equal(classifier.read(same), expected)
    for other, message in (
        (np.full((8, 9, 3), np.nan), "finite values.*nan"),
        (np.full((8, 9, 3), 65535, "uint16"), "finite values.*65535"),
        (np.ones((8, 9), bool), "an array of numbers.*bool"),
        (np.array([["a"]]), "an array of numbers.*ndarray"),
        (None, "an array of numbers.*NoneType"),
    ):
        with pytest.raises(ValueError, match=f"`image` must .*{message}"):
            classifier.read(other)


def test_pillows_images_must_have_plain_colours(classifier):
    pillow = pytest.importorskip("PIL.Image")
    image = pillow.open(io.BytesIO(photo()))
    np.testing.assert_array_equal(
        classifier.read(image), classifier.read(photo())
    )
    with pytest.raises(ValueError, match="mode 'L' or 'RGB'.*mode='P'"):
        classifier.read(image.convert("P"))


def test_contents_need_not_be_bytes(classifier):
    content = photo()
    for same in (bytearray(content), memoryview(content)):
        np.testing.assert_array_equal(
            classifier.read(same), classifier.read(content)
        )


def test_an_image_too_narrow_for_the_crop_is_named(run, classifier, tmp_path):
    path = tmp_path / "narrow.png"
    path.write_bytes(photo(shape=(4000, 1)))
    covering = dataclasses.replace(classifier.description.crop, squash=False)
    other = Classifier(run.path, max_pixels=10**5)
    other.description = dataclasses.replace(other.description, crop=covering)
    message = "resized, it must not have more pixels.*100000. Received: 64000"
    with pytest.raises(ValueError, match=f"narrow.png: {message}"):
        other.classify([photo(), path])


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(class_names="abcdef"), "`class_names` must be a list of str"),
        (dict(class_names=["a", 1]), "`class_names` must be a list of str"),
        (dict(channels=2), "`channels` must be 1 or 3"),
        (dict(max_pixels=-1), "`max_pixels` must be a positive integer"),
        (dict(max_pixels=float("inf")), "`max_pixels` must be a positive"),
        (dict(crop=dict(size=32, resized=32, squash="no")), "`squash` must"),
        (dict(crop=[]), "`crop` must be an object"),
    ],
)
def test_edited_descriptions_are_refused(
    changes, message, classifier, tmp_path
):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    content = dataclasses.asdict(classifier.description) | changes
    Description.beside(path).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"model.onnx.json' must.*({message})"):
        Classifier(path)


def test_a_file_that_does_not_fit_its_description_is_named(
    run, classifier, tmp_path
):
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module)
    path = tmp_path / "model.onnx"
    commands.export(run.path, format="onnx", out=path)
    described = classifier.description
    few = dataclasses.replace(described, class_names=NAMES[:-1])
    grey = dataclasses.replace(described, channels=1)
    for other, message in (
        (few, "a number for each of the 5 classes"),
        (grey, "with its description. Received: '.*model.onnx'"),
    ):
        other.write(path)
        with pytest.raises(ValueError, match=message):
            Classifier(path).classify(photo())
    path.write_bytes(b"garbage")
    with pytest.raises(
        ValueError, match="`model` must be a file as.*model.onn"
    ):
        Classifier(path)


def test_names_that_are_not_utf8_are_printed(run, command, tmp_path):
    path = os.fsencode(tmp_path / "cat") + b"\xff.png"
    with open(path, "wb") as file:
        file.write(photo())
    status, output, errors = command(
        "predict", run.path, tmp_path, "--format", "csv"
    )
    assert status == 0, errors
    assert output.splitlines()[1].startswith(f"{tmp_path}/cat\\xff.png,")


def test_predict_takes_folders_and_writes_formats(run, command, classifier):
    folder = run.path.parent / "photos" / "val" / "ant"
    options = ("--top", 2, "--batch-size", 2)
    status, output, errors = command("predict", run.path, folder, *options)
    assert status == 0, errors
    lines = [line.split("\t") for line in output.splitlines()]
    files = sorted(folder.iterdir())
    assert [line[0] for line in lines] == [str(f) for f in files for _ in "ab"]
    expected = classifier.classify(files, top=2)
    flat = [(name, f"{p:.4f}") for row in expected for name, p in row]
    assert [tuple(line[1:]) for line in lines] == flat

    _, output, _ = command("predict", run.path, folder, "--format", "json")
    found = json.loads(output)
    assert [row["file"] for row in found] == [str(f) for f in files]
    assert [row["classes"][0]["name"] for row in found] == [
        row[0][0] for row in expected
    ]
    _, output, _ = command("predict", run.path, folder, "--format", "csv")
    assert output.splitlines()[0] == "file,class,probability"
    assert len(output.splitlines()) == 3
