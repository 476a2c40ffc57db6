"""Randomly corrupted files of each kind are refused or load whole."""

from collections import Counter

import pytest
from fuzz import ALL_KINDS, Fuzz
from helpers import BACKEND

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        BACKEND != "tensorflow", reason="files alone: one backend is enough"
    ),
]


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    return Fuzz(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_corruptions_are_refused_or_loaded_whole(fuzz, kind):
    found = Counter(fuzz.attempt(kind, seed) for seed in range(100))
    assert set(found) <= {"loaded", "refused"}, found
    assert found["refused"] > 25


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_what_is_not_corrupted_is_loaded(fuzz, kind, monkeypatch):
    monkeypatch.setattr("fuzz.damaged", lambda kind, content, chance: content)
    for name in ("corrupt", "corrupt_json"):
        monkeypatch.setattr(f"fuzz_folder.{name}", lambda content, _: content)
    assert fuzz.attempt(kind, 0) == "loaded"


def test_half_a_load_is_seen(fuzz, monkeypatch):
    def load(model, path):
        model.weights[0].assign(model.weights[0] + 1)
        raise ValueError("too late")

    monkeypatch.setattr("fuzz.weight_files.load", load)
    assert fuzz.attempt("h5", 0) == "HALF LOADED"
    monkeypatch.setattr("fuzz.weight_files.load", lambda model, path: None)
    assert fuzz.attempt("h5", 0) == "HALF LOADED"
