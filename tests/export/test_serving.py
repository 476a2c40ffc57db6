"""A SavedModel answers requests for files as evaluation and prediction do."""

import base64
import json
import re
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import BACKEND, ROOT
from photo_runs import MARGIN, NAMES, RECIPE, SIDE, make_run, photo

from keras_nfnets import data
from keras_nfnets.cli import commands
from keras_nfnets.data import Crop
from keras_nfnets.export import Description
from keras_nfnets.runs import Classifier

tf = pytest.importorskip("tensorflow")
pytest.importorskip("PIL")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="signatures are TensorFlow's on each"
)
DOC = (ROOT / "docs" / "serving.md").read_text("utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was exported."""
    run = make_run(tmp_path_factory.mktemp("serving"))
    commands.export(run.path)
    return run


@pytest.fixture(scope="module")
def served(run):
    return tf.saved_model.load(str(run.saved_model))


@pytest.fixture(scope="module")
def files(run):
    return sorted((run.path.parent / "photos" / "val").rglob("*.*"))


def ask(served, signature, contents):
    encoded = tf.constant(contents, tf.string)
    answer = served.signatures[signature](encoded=encoded)
    return {name: value.numpy() for name, value in answer.items()}


@pytest.mark.long
def test_every_way_finds_the_same_probabilities(run, served, files, capsys):
    contents = [path.read_bytes() for path in files]
    answer = ask(served, "serve_images", contents)
    # As `evaluate` reads them.
    config, model = run.load()
    source = data.open_source(config["settings"].data)
    batches = data.test_batches(source, RECIPE)
    evaluated = [model.predict_on_batch(x) for x, *_ in batches]
    ours = answer["probabilities"]
    # Probabilities; folding rounds otherwise.
    np.testing.assert_allclose(ours, np.concatenate(evaluated), atol=1e-5)
    assert len(np.unique(ours.argmax(-1))) > 1
    names = [NAMES[i].encode() for i in ours.argmax(-1)]
    assert answer["classes"].tolist() == names

    classifier = Classifier(run.path)
    program = ROOT / "tools" / "serve_saved_model.py"
    lines = subprocess.run(
        [sys.executable, program, run.saved_model, *files],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for path, row, line in zip(files, ours, lines, strict=True):
        (((name, probability),),) = classifier.classify(path, top=1)
        assert name == NAMES[row.argmax()]
        assert probability == pytest.approx(row.max(), abs=1e-5)
        assert line == f"{path}\t{name}\t{row.max():.4f}"


def test_classify_names_the_top_five(served, files):
    contents = [path.read_bytes() for path in files]
    rows = ask(served, "serve_images", contents)["probabilities"]
    answer = ask(served, "classify", contents)
    order = np.argsort(-rows, axis=-1)[:, :5]
    np.testing.assert_array_equal(
        answer["probabilities"], np.take_along_axis(rows, order, -1)
    )
    names = np.array(NAMES, "S")[order].tolist()
    assert answer["classes"].tolist() == names


def test_pixels_are_taken_as_they_are(run, served, files):
    crops = np.stack(
        [
            Crop(SIDE, SIDE + MARGIN).of(data.read_image(path, None, 3))
            for path in files[:2]
        ]
    )
    contents = [path.read_bytes() for path in files[:2]]
    expected = ask(served, "serve_images", contents)
    images = tf.constant(crops)
    answer = served.signatures["serving_default"](images=images)
    for name, value in expected.items():
        np.testing.assert_array_equal(answer[name].numpy(), value)
    whole = np.clip(crops, 0, 255).astype("uint8")
    answer = served.signatures["serving_uint8"](images=tf.constant(whole))
    np.testing.assert_array_equal(
        answer["probabilities"], served.serve(whole.astype("float32"))
    )


def test_names_are_an_asset_and_a_file_beside(run):
    asset = run.saved_model / "assets" / "classes.txt"
    assert asset.read_text().splitlines() == NAMES
    described = Description.read(run.saved_model)
    assert described == Description(NAMES, Crop(SIDE, SIDE + MARGIN), 3)


@pytest.mark.parametrize("signature", ["serve_images", "classify"])
def test_empty_batch_gets_an_empty_answer(served, signature):
    answer = ask(served, signature, [])
    assert {len(value) for value in answer.values()} == {0}
    images = tf.zeros((0, SIDE, SIDE, 3))
    answer = served.signatures["serving_default"](images=images)
    assert answer["probabilities"].shape == (0, 6)


def test_64_requests_at_once_with_a_corrupt_one(served):
    contents = [photo("PNG" if i % 2 else "JPEG", i) for i in range(64)]
    expected = [ask(served, "serve_images", [c]) for c in contents]
    contents[37] = contents[37][:99]

    def request(content):
        try:
            return ask(served, "serve_images", [content])
        except tf.errors.InvalidArgumentError as error:
            return error

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(request, contents))
    assert isinstance(answers.pop(37), tf.errors.InvalidArgumentError)
    del expected[37]
    for answer, its in zip(answers, expected, strict=True):
        # Threads may share a product otherwise.
        np.testing.assert_allclose(
            answer["probabilities"], its["probabilities"], atol=1e-6
        )


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"GIF89a" + bytes(50)],
    ids=["empty", "text", "gif"],
)
def test_what_is_no_image_is_refused(served, content):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a PNG"):
        ask(served, "classify", [photo(), content])
    assert len(ask(served, "classify", [photo()])["classes"]) == 1


def decoded(value):
    """What TensorFlow Serving makes of a value of its REST requests."""
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    if isinstance(value, list):
        return [decoded(one) for one in value]
    return value


def rest(served, body):
    """Answers the body of a request as TensorFlow Serving does."""
    body = json.loads(body)
    if "instances" in body:
        rows = body["instances"]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
    else:
        columns = body["inputs"]
    signature = served.signatures[body.get("signature_name", "serving_default")]
    _, specs = signature.structured_input_signature
    inputs = {
        name: tf.constant(decoded(column), specs[name].dtype)
        for name, column in columns.items()
    }
    return {k: v.numpy() for k, v in signature(**inputs).items()}


def test_the_requests_of_the_document(served):
    bodies = re.findall(r"```json\n(.*?)```", DOC, re.S)
    answers = [rest(served, body) for body in bodies]
    assert [len(answer["classes"]) for answer in answers] == [1, 2, 1]
    assert answers[0]["classes"].shape == (1, 5)
    np.testing.assert_allclose(
        answers[0]["probabilities"][0, 0], answers[1]["probabilities"].max(-1)
    )


def test_the_grpc_request_of_the_document(served, tmp_path, monkeypatch):
    """Its code runs; the server's side is the signature itself."""
    code = next(c for c in python_blocks(DOC) if "grpc" in c)
    sent = types.SimpleNamespace(inputs={}, model_spec=types.SimpleNamespace())

    def predict(request, timeout):
        values = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        name = request.model_spec.signature_name
        signature = served.signatures[name]
        answer = signature(**{k: tf.constant(v) for k, v in values.items()})
        outputs = {k: tf.make_tensor_proto(v) for k, v in answer.items()}
        return types.SimpleNamespace(outputs=outputs)

    sent.inputs["encoded"] = type(tf.make_tensor_proto(0))()
    stub = types.SimpleNamespace(Predict=predict)
    apis = types.ModuleType("tensorflow_serving.apis")
    apis.predict_pb2 = types.SimpleNamespace(PredictRequest=lambda: sent)
    apis.prediction_service_pb2_grpc = types.SimpleNamespace(
        PredictionServiceStub=lambda channel: stub
    )
    grpc = types.ModuleType("grpc")
    grpc.insecure_channel = lambda address: None
    monkeypatch.setitem(sys.modules, "grpc", grpc)
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", apis)
    monkeypatch.setitem(
        sys.modules,
        "tensorflow_serving",
        types.ModuleType("tensorflow_serving"),
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.png").write_bytes(photo())
    names = {}
    exec(code, names)
    expected = ask(served, "classify", [photo()])
    np.testing.assert_array_equal(names["classes"], expected["classes"])
    assert sent.model_spec.name == "nfnet"


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.S)


def test_the_example_runs_as_pasted(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").symlink_to(run.path)
    (tmp_path / "image.png").write_bytes(photo())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(python_blocks(DOC)[0], names)
    assert names["answer"]["classes"].shape == (1, 5)
    assert capsys.readouterr().out.startswith("b'")
