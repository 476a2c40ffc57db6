"""Published weights are fetched once, checked and kept on disk."""

import dataclasses
import hashlib
import http.server
import os
import resource
import threading
import time

import numpy as np
import pytest
from helpers import BACKEND, FILES, Reference, assert_outputs, evaluate
from helpers import variant_of as variant_of_papers

import keras_nfnets
from keras_nfnets import VARIANTS
from keras_nfnets.weights import published

FILE = (FILES / "weights" / "published_format_full.npz").read_bytes()
MD5 = hashlib.md5(FILE).hexdigest()
NAME = "the_published"

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="files alone: one backend is enough"
)


class Server(http.server.ThreadingHTTPServer):
    """Sends what each request in turn is to get, and counts them."""

    daemon_threads = True

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = 0
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = self.server.answers[self.server.requests]
        self.server.requests += 1
        answer(self)

    def log_message(self, *args):
        pass


def whole(request, content=FILE):
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def cut(request):
    """Closes the connection after a third of what it announced."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(FILE)))
    request.end_headers()
    request.wfile.write(FILE[: len(FILE) // 3])


def cut_unannounced(request):
    """Leaves out how long the file is, so that only the content tells."""
    request.send_response(200)
    request.end_headers()
    request.wfile.write(FILE[: len(FILE) // 3])


def other(request):
    """A page that says something else, under the same address."""
    whole(request, b"<!doctype html><title>Sign in</title>" * 100)


def slow(request):
    request.send_response(200)
    request.send_header("Content-Length", str(len(FILE)))
    request.end_headers()
    for start in range(0, len(FILE), len(FILE) // 8):
        request.wfile.write(FILE[start : start + len(FILE) // 8])
        time.sleep(0.05)


def silent(request):
    """Stops in the middle and keeps the connection open."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(FILE)))
    request.end_headers()
    request.wfile.write(FILE[:1000])
    request.wfile.flush()
    time.sleep(3)


def absent(request):
    request.send_error(404)


@pytest.fixture
def reference():
    return Reference("model_nfnet_plain")


@pytest.fixture
def serve(tmp_path, monkeypatch, reference):
    """Publishes the papers' look-alike file on a server with these answers."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(VARIANTS, NAME, variant_of_papers(reference.meta))
    servers = []

    def start(*answers, md5=MD5):
        server = Server(*answers)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/F0_haiku.npz"
        source = published.Source(url, "F0_haiku.npz", md5)
        monkeypatch.setitem(published.SOURCES, NAME, source)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def build(**changes):
    arguments = dict(classes=10, classifier_activation=None) | changes
    return keras_nfnets.NFNet(NAME, weights="imagenet", **arguments)


def kept(folder):
    return sorted(p.name for p in (folder / "keras_nfnets").iterdir())


@pytest.mark.parametrize(
    "answers",
    [(whole,), (slow,), (cut, whole), (cut_unannounced, whole), (other, whole)],
    ids=lambda answers: "_then_".join(a.__name__ for a in answers),
)
def test_fetched_once_and_right(serve, reference, tmp_path, answers):
    server = serve(*answers)
    model = build()
    assert_outputs(
        evaluate(model, reference["even/x"]), reference["even/logits"]
    )
    assert kept(tmp_path) == [f"{NAME}.safetensors"]
    again = build()
    assert server.requests == len(answers)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("answer", [cut, cut_unannounced, other])
def test_what_stays_wrong_is_refused_and_not_kept(serve, tmp_path, answer):
    server = serve(answer, answer)
    with pytest.raises(ConnectionError, match="could not be fetched: "):
        published.fetch(NAME)
    assert server.requests == 2
    assert kept(tmp_path) == []


@pytest.mark.parametrize("answer", [cut_unannounced, other])
def test_without_a_checksum_reading_tells(serve, tmp_path, answer):
    server = serve(answer, whole, md5=None)
    published.fetch(NAME)
    assert server.requests == 2
    assert kept(tmp_path) == [f"{NAME}.safetensors"]


def test_silent_server_is_given_up(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "TIMEOUT", 0.3)
    server = serve(silent, whole)
    published.fetch(NAME)
    assert server.requests == 2


def test_address_without_a_file_is_asked_once(serve, tmp_path):
    server = serve(absent)
    with pytest.raises(ConnectionError, match="404"):
        published.fetch(NAME)
    assert server.requests == 1
    assert kept(tmp_path) == []


def test_without_network_a_file_put_by_hand_is_taken(serve, tmp_path):
    serve().server_close()
    with pytest.raises(ConnectionError, match="put the file at") as caught:
        published.fetch(NAME)
    place = tmp_path / "keras_nfnets" / "F0_haiku.npz"
    assert str(place) in str(caught.value)
    place.write_bytes(FILE)
    published.fetch(NAME)
    assert kept(tmp_path) == ["F0_haiku.npz", f"{NAME}.safetensors"]


def test_interrupted_leaves_nothing_and_is_fetched_again(
    serve, tmp_path, monkeypatch
):
    server = serve(whole, whole)

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(published, "read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            published.fetch(NAME)
    assert kept(tmp_path) == []
    published.fetch(NAME)
    assert server.requests == 2


def test_what_a_killed_process_left_is_cleared_in_time(serve, tmp_path):
    serve(whole)
    old, new = (tmp_path / "keras_nfnets" / f".partial-{n}" for n in "ab")
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "F0_haiku.npz").write_bytes(FILE[:99])
    then = time.time() - published.ABANDONED - 1
    os.utime(old, (then, then))
    published.fetch(NAME)
    # The other folder may belong to a process that is still running.
    assert kept(tmp_path) == [new.name, f"{NAME}.safetensors"]


def test_other_classes_keep_a_fresh_classifier(serve):
    serve(whole)
    with pytest.warns(UserWarning, match="classifier stays fresh.* 10 classes"):
        model = build(classes=3)
    assert model.output_shape == (None, 3)


def test_cache_that_cannot_be_written_is_named(serve, tmp_path):
    serve(whole)
    (tmp_path / "keras_nfnets").write_text("a file is in the way")
    with pytest.raises(OSError, match="set KERAS_HOME to one that can") as e:
        published.fetch(NAME)
    assert e.value.filename == str(tmp_path / "keras_nfnets")


def test_full_disk_leaves_nothing(serve, tmp_path):
    serve(whole)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system refuses to write more, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(FILE) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            published.fetch(NAME)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert kept(tmp_path) == []


def test_full_disk_while_converting_leaves_nothing(
    serve, tmp_path, monkeypatch
):
    serve(whole)

    def fail(arrays, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(published, "write_arrays", fail)
    with pytest.raises(OSError, match="No space left"):
        published.fetch(NAME)
    assert kept(tmp_path) == []


def test_unpublished_variant_names_those_that_are():
    with pytest.raises(ValueError, match="nfnet_f0, .*Received: .*'nfnet_f7'"):
        keras_nfnets.NFNet("nfnet_f7", weights="imagenet")
    row = dataclasses.replace(VARIANTS["nfnet_f0"], alpha=0.3)
    with pytest.raises(ValueError, match="with published weights"):
        keras_nfnets.NFNet(row, weights="imagenet")


def test_sources_are_variants_with_addresses_of_their_own():
    assert set(published.SOURCES) <= set(VARIANTS)
    for values in ("url", "file"):
        found = [getattr(s, values) for s in published.SOURCES.values()]
        assert len(set(found)) == len(found)
    for source in published.SOURCES.values():
        assert source.url.startswith("https://")
        ours = source.file.endswith(".npz")
        assert ours == (source.md5 is not None)


def test_default_folder_is_keras_own(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    default = published.cache_folder()
    assert default.parent.name == ".keras" and default.name == "keras_nfnets"
