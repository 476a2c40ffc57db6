"""The command line writes a variant with weights for other runtimes."""

import keras
import numpy as np
import pytest
from helpers import evaluate
from small_runs import small_table

from keras_nfnets import VARIANTS, NFNet, cli
from keras_nfnets.options import EXPORT_PRECISIONS, EXPORTS
from keras_nfnets.recipes import RECIPES

for module in ("matplotlib", "PIL", "sklearn", "tensorflow", "onnx"):
    pytest.importorskip(module)
ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of the tiny variant."""
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    with small_table():
        model = NFNet("tiny", input_shape=(None, None, 3), classes=10)
    kernel = model.get_layer("head").classifier.kernel
    kernel.assign(50 * kernel)
    model.save_weights(path)
    return path, model


def export(path, *arguments):
    arguments = ("export", "--variant", "tiny", "--weights", path, *arguments)
    with small_table():
        return cli.main([str(argument) for argument in arguments])


def test_names_are_those_of_the_table():
    from keras_nfnets.export.formats import FORMATS

    assert EXPORTS.keys() == FORMATS.keys()
    for name, row in FORMATS.items():
        assert EXPORTS[name].endswith(row.suffix)
        assert set(row.precisions) <= set(EXPORT_PRECISIONS)


@pytest.mark.long
def test_variant_as_onnx_takes_pixels(weights, tmp_path, monkeypatch, capsys):
    path, model = weights
    monkeypatch.chdir(tmp_path)
    assert export(path, "--format", "onnx", "--size", "any") == 0
    assert "wrote tiny.onnx" in capsys.readouterr().out
    session = ort.InferenceSession("tiny.onnx")
    draw = np.random.default_rng(0)
    pixels = draw.uniform(0, 255, (3, 40, 33, 3)).astype("float32")
    (actual,) = session.run(None, {"images": pixels})
    variant = VARIANTS["nfnet_f0"]
    x = (pixels - np.float32(variant.pixel_mean)) / variant.pixel_std
    expected = evaluate(model, x.astype("float32"))
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert np.ptp(expected) > 0.01
    # What is there stays, unless it is to be replaced.
    assert export(path, "--format", "onnx") == cli.BAD_REQUEST
    assert "`path` must be free" in capsys.readouterr().err
    arguments = ("--size", "48", "--precision", "int8", "--calibrate")
    arguments += (_folder(tmp_path), "--overwrite")
    assert export(path, "--format", "onnx", *arguments) == 0
    (node,) = ort.InferenceSession("tiny.onnx").get_inputs()
    assert node.shape[1:] == [48, 48, 3]


@pytest.mark.long
def test_a_network_without_a_recipe_of_its_own(weights, tmp_path, capsys):
    path, out = weights[0], tmp_path / "tiny.onnx"
    options = ("--format", "onnx", "--precision", "int8", "--size", "32")
    options += ("--calibrate", _folder(tmp_path), "--out", out)
    arguments = ("export", "--variant", "tiny", "--weights", path, *options)
    with small_table() as patch:
        patch.delitem(RECIPES, "tiny")
        status = cli.main([str(argument) for argument in arguments])
    assert status == 0, capsys.readouterr().err
    assert out.exists()


def _folder(path):
    """Writes images of two classes and returns the source's name."""
    draw = np.random.default_rng(1)
    for name in "ab":
        (path / "images" / name).mkdir(parents=True)
        for i in range(5):
            pixels = draw.integers(0, 256, (50, 60, 3), "uint8")
            keras.utils.save_img(path / "images" / name / f"{i}.png", pixels)
    return f"folder:{path / 'images'}"


def test_bad_requests(weights, tmp_path, capsys):
    path, _ = weights
    out = ("--out", tmp_path / "model.onnx", "--format", "onnx")
    for arguments, message in (
        (("--precision", "int8", *out), "`calibrate` must be images"),
        (("--precision", "int8"), "`precision` must be one of ['float32']"),
        (("--size", "0", *out), "`size` must be a positive integer"),
        (("--size", "31x64", *out), "`size` must be at least 32 pixels"),
        (("--size", "64", *out[:1], tmp_path / "x.bin", *out[2:]), "`path`"),
    ):
        assert export(path, *arguments) == cli.BAD_REQUEST
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        export(path, "--size", "1x2x3")
    assert "--size: must be PIXELS or HEIGHTxWIDTH" in capsys.readouterr().err
    for arguments in ((), ("run", "--variant", "nfnet_f0"), ("--weights", "x")):
        assert cli.main(["export", *arguments]) == cli.BAD_REQUEST
        assert "either RUN or both of" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
