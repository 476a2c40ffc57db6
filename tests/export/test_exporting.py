"""`export` writes what it has checked, or nothing."""

import dataclasses
import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest
from folded_models import TINY, randomize, tiny
from helpers import BACKEND, evaluate

from keras_nfnets import VARIANTS, NFNet, layers
from keras_nfnets.export import comparison, export, fold, litert
from keras_nfnets.export.formats import FORMATS

# A process that runs a file where neither Keras nor this library is.
ALONE = """
import sys
import numpy as np
sys.modules["keras"] = sys.modules["keras_nfnets"] = None
path, x = sys.argv[2], np.load(sys.argv[3])
if sys.argv[1] == "onnx":
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    y = session.run(None, {"images": x})[0]
elif sys.argv[1] == "openvino":
    import openvino
    y = openvino.Core().compile_model(
        path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )(x)[0]
else:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow
        Interpreter = tensorflow.lite.Interpreter
    run = Interpreter(path)
    (detail,), (out,) = run.get_input_details(), run.get_output_details()
    run.resize_tensor_input(detail["index"], x.shape)
    run.allocate_tensors()
    run.set_tensor(detail["index"], x)
    run.invoke()
    y = run.get_tensor(out["index"])
np.save(sys.argv[4], y)
"""
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 70.0)
needs = {
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "onnxruntime", "openvino"),
    "litert": ("tensorflow",),
    "saved_model": ("tensorflow",),
    "keras": (),
}


@pytest.fixture(scope="module")
def network():
    model = randomize(NFNet(TINY, classes=5))
    kernel = model.get_layer("head").classifier.kernel
    kernel.assign(np.random.default_rng(2).normal(size=kernel.shape))
    return model


@pytest.fixture(scope="module")
def model():
    """The least that has groups, an activation of ours and two outputs."""
    inputs = keras.Input((32, 32, 3))
    x = layers.WSConv2D(16, 3, 4, "symmetric")(inputs)
    x = layers.WSConv2D(18, 3, groups=2)(layers.VPActivation("gelu")(x))
    features = keras.layers.GlobalAveragePooling2D()(x)
    classes = keras.layers.Dense(4)(features)
    # In another order than they are sorted in.
    return keras.Model(inputs, dict(features=features, classes=classes))


@pytest.fixture(scope="module")
def pixels():
    return comparison.pixels((8, 32, 32, 3), np.random.default_rng(3))


one_backend = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="what is compared and written knows none"
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def written(kind, model, path, **arguments):
    for module in needs[kind]:
        pytest.importorskip(module)
    export(model, path, kind, mean=MEAN, std=STD, **arguments)
    return path


# LiteRT's files are written by Keras, from what the backend traced.
@pytest.mark.long
@pytest.mark.parametrize(
    "kind",
    ["onnx", "openvino", "litert"] if BACKEND == "tensorflow" else ["litert"],
)
def test_files_run_without_keras(kind, network, pixels, tmp_path):
    path = tmp_path / f"model{FORMATS[kind].suffix}"
    size = 32 if kind == "litert" else "any"
    written(kind, network, path, size=size)
    files = [str(tmp_path / name) for name in ("x.npy", "y.npy")]
    # More images than the check has.
    np.save(files[0], pixels)
    subprocess.run(
        [sys.executable, "-c", ALONE, kind, str(path), *files], check=True
    )
    x = (pixels - np.float32(MEAN)) / np.float32(STD)
    expected = evaluate(network, x)
    bound = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(np.load(files[1]), expected, atol=bound)
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("kind", ["onnx", "openvino", "litert"])
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the same files")
def test_coarser_files_are_smaller(kind, precision, pixels, tmp_path):
    # Wide enough that weights make up most of a file.
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(64, 3, strides=4, activation="relu")(inputs)
    x = keras.layers.Conv2D(256, 3, groups=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    wide = keras.Model(inputs, keras.layers.Dense(4)(x))
    path = tmp_path / f"model{FORMATS[kind].suffix}"
    written(kind, wide, path, precision=precision, calibrate=pixels)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    share = {"float16": 0.5, "int8": 0.25}[precision]
    weights = 4 * wide.count_params()
    # And the words for the graph.
    assert share * weights <= size < share * weights + 60_000
    assert size < 0.8 * weights


@one_backend
@pytest.mark.parametrize("kind", ["onnx", "litert"])
def test_int8_of_a_pooled_stem(kind, pixels, tmp_path):
    # Its pooling has a border of minus infinity, which no scale of 8-bit
    # integers covers beside pixels.
    inputs = keras.Input((32, 32, 3))
    stem = layers.Stem((16,), (2,), 7, pool=True, padding="symmetric")
    x = keras.layers.GlobalAveragePooling2D()(stem(inputs))
    pooled = keras.Model(inputs, keras.layers.Dense(4)(x))
    path = tmp_path / f"model{FORMATS[kind].suffix}"
    # `export` compares.
    written(kind, pooled, path, precision="int8", calibrate=pixels)
    written(kind, pooled, tmp_path / f"float{FORMATS[kind].suffix}")


@one_backend
def test_int8_keeps_small_probabilities(pixels, tmp_path):
    # All of a thousand are near 0.001, and 1/256 is the step of an 8-bit
    # softmax: it would make each of them zero.
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    wide = keras.Model(inputs, keras.layers.Dense(1000, "softmax")(x))
    path = tmp_path / "model.onnx"
    # `export` compares, and would refuse zeros.
    written("onnx", wide, path, precision="int8", calibrate=pixels)
    assert path.exists()


@pytest.mark.long
@one_backend
@pytest.mark.parametrize("kind", FORMATS)
def test_outputs_of_a_dictionary_are_told_apart(kind, model, tmp_path):
    path = tmp_path / f"model{FORMATS[kind].suffix}"
    written(kind, model, path)
    assert path.name in names(tmp_path)


def test_path_that_is_taken(model, tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(FileExistsError, match="`path` must be free"):
        export(model, path, "keras")
    assert path.read_text() == "old"
    export(model, path, "keras", overwrite=True)
    assert path.read_bytes()[:2] == b"PK"
    assert names(tmp_path) == ["model.keras"]


@pytest.mark.parametrize("kind", ["keras", "saved_model"])
def test_a_folder_of_other_things_stays(kind, model, tmp_path):
    for module in needs[kind]:
        pytest.importorskip(module)
    path = tmp_path / "thesis.keras"
    path.mkdir()
    (path / "chapter").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other things than a Sav"):
        export(model, path, kind, overwrite=True)
    assert (path / "chapter").read_text() == "mine"
    assert names(tmp_path) == ["thesis.keras"]


@one_backend
def test_a_folder_that_is_not_there_is_named(model, tmp_path):
    path = tmp_path / "none" / "model.keras"
    with pytest.raises(FileNotFoundError) as error:
        export(model, path, "keras")
    assert error.value.filename == str(path)


@one_backend
@pytest.mark.parametrize("kind", ["keras", "onnx", "litert"])
def test_inputs_of_a_dictionary_are_compared(kind, tmp_path):
    for module in needs[kind]:
        pytest.importorskip(module)
    inputs = dict(
        zebra=keras.Input((8, 8, 3), name="zebra"),
        ape=keras.Input((5,), name="ape"),
    )
    x = keras.layers.GlobalAveragePooling2D()(inputs["zebra"])
    x = keras.layers.Concatenate()([x, inputs["ape"]])
    both = keras.Model(inputs, keras.layers.Dense(2)(x))
    path = tmp_path / f"model{FORMATS[kind].suffix}"
    export(both, path, kind)
    ape, zebra = np.ones((1, 5), "float32"), np.ones((1, 8, 8, 3), "float32")
    (found,) = FORMATS[kind].load(path)([ape, zebra])
    expected = both.predict_on_batch(dict(zebra=zebra, ape=ape))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    other = tmp_path / f"other{path.suffix}"
    with pytest.raises(ValueError, match="`mean` must be 0 and `std` 1"):
        export(both, other, kind, mean=1.0)
    if kind == "onnx":
        options = dict(precision="int8", calibrate=zebra)
        with pytest.raises(ValueError, match="one input to be calibrated"):
            export(both, other, kind, **options)
    assert names(tmp_path) == [path.name]


@one_backend
@pytest.mark.parametrize("large", [False, True])
def test_litert_keeps_the_order_and_takes_any_size(
    large, tmp_path, monkeypatch
):
    pytest.importorskip("tensorflow")
    if large:
        # Weights behind the FlatBuffer, as from 2 GiB on.
        monkeypatch.setattr(litert, "MOST_BYTES", 10)
    inputs = [keras.Input((side,)) for side in range(1, 13)]
    outputs = [keras.layers.Dense(15 - x.shape[1])(x) for x in inputs]
    path = tmp_path / "model.tflite"
    export(keras.Model(inputs, outputs), path, "litert")
    run = FORMATS["litert"].load(path)
    found = run([np.ones((2, *x.shape[1:]), "float32") for x in inputs])
    assert [y.shape for y in found] == [(2, y.shape[1]) for y in outputs]


@one_backend
def test_litert_files_without_names_are_loaded(tmp_path):
    tf = pytest.importorskip("tensorflow")
    double = tf.function(lambda x: 2.0 * x)
    concrete = double.get_concrete_function(tf.TensorSpec((None, 3)))
    convert = tf.lite.TFLiteConverter.from_concrete_functions
    path = tmp_path / "double.tflite"
    path.write_bytes(convert([concrete], double).convert())
    (found,) = FORMATS["litert"].load(path)([np.ones((2, 3), "float32")])
    np.testing.assert_array_equal(found, np.full((2, 3), 2.0))


@one_backend
@pytest.mark.parametrize(
    "write",
    [fold, pytest.param(export, marks=pytest.mark.long)],
    ids=["fold", "export"],
)
def test_graphs_are_deeper_than_python_allows(write, tmp_path):
    # 60 blocks fold into a chain of over 400 layers.
    variant = dataclasses.replace(tiny(VARIANTS["nf_resnet600"]), depths=(60,))
    model = NFNet(variant, classes=2)
    before = sys.getrecursionlimit()
    lowered = len(inspect.stack()) + 350
    sys.setrecursionlimit(lowered)
    try:
        files = [tmp_path / "deep.keras", "keras"] if write is export else []
        write(model, *files)
        assert sys.getrecursionlimit() == lowered
    finally:
        sys.setrecursionlimit(before)


@one_backend
@pytest.mark.parametrize("damage", ["value", "shape", "nan"])
def test_deviation_is_an_error_and_leaves_nothing(
    damage, model, tmp_path, monkeypatch
):
    row = FORMATS["keras"]

    def load(path):
        run = row.load(path)

        def damaged(inputs):
            y, *others = map(np.array, run(inputs))
            if damage == "shape":
                return [y[:, :-1], *others]
            y[0, 0] += {"value": 2e-5, "nan": np.nan}[damage] * np.abs(y).max()
            return [y, *others]

        return damaged

    monkeypatch.setitem(
        FORMATS, "keras", type(row)(**vars(row) | {"load": load})
    )
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="output 'classes' must"):
        export(model, path, "keras", overwrite=True)
    assert path.read_text() == "old" and names(tmp_path) == ["model.keras"]


def _images(count, channels=3):
    return np.zeros((count, 32, 32, channels), "float32")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(format="pdf"), "`format` must be one of"),
        (dict(format="keras", precision="int8"), "`precision` must be one of"),
        (dict(format="onnx", precision="half"), "`precision` must be one of"),
        (dict(format="onnx", precision="int8"), "`calibrate` must be images"),
        (dict(format="keras", size=0), "`size` must be a positive integer"),
        (dict(format="keras", size="all"), "`size` must be a positive integer"),
        (dict(format="keras", std=0.0), "`std` must be positive"),
        (dict(format="keras", mean=[1.0, 2.0]), "`mean` must be a finite num"),
        (dict(format="keras", mean=[]), r"`mean` must be .*mean=\[\]"),
        (dict(format="keras", mean=np.nan), "`mean` must be .*mean=nan"),
        (dict(format="keras", std="1"), "`std` must be a finite number"),
        (dict(format="keras", calibrate=[]), "`calibrate` must be images"),
        (dict(format="keras", calibrate="digits"), "`calibrate` must be imag"),
        (dict(format="keras", calibrate=_images(0)), "`calibrate` must be im"),
        (dict(format="keras", calibrate=_images(2)[0]), "`calibrate` must be"),
        (
            dict(format="keras", calibrate=_images(2, 1)),
            r"shape \(None, 32, 32, 3\).*Received: shapes=\[\(2, 32, 32, 1\)",
        ),
        (dict(format="keras", calibrate=_images(2) * np.nan), "finite values"),
        (dict(format="keras"), "`path` must end in '.keras' for format="),
    ],
)
def test_bad_input(arguments, message, model, tmp_path):
    for module in needs.get(arguments["format"], ()):
        pytest.importorskip(module)
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / "model", **arguments)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["onnx", "openvino", "litert", "saved_model"])
def test_missing_package_names_the_extra(kind, model, tmp_path, monkeypatch):
    row = FORMATS[kind]
    monkeypatch.setitem(sys.modules, row.packages[-1], None)
    with pytest.raises(ImportError, match=rf"keras-nfnets\[{row.extra}\]"):
        export(model, tmp_path / "model", kind)
    assert not any(tmp_path.iterdir())


def test_missing_runtime_is_told(model, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.warns(UserWarning, match=r"not compared.*keras-nfnets\[onnx\]"):
        export(model, tmp_path / "model.onnx", "onnx")
    assert names(tmp_path) == ["model.onnx"]


def test_subclassed_models_are_refused(tmp_path):
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="must be a functional"):
        export(Own(), tmp_path / "model", "keras")
