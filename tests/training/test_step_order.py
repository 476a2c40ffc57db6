"""A step of Keras calls what docs/STEP.md says, in that order."""

import pathlib
import re

import keras
import numpy as np
import pytest
from helpers import BACKEND

import keras_nfnets

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "STEP.md"
TITLES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def table():
    """Returns class, method and what enters, for each row of this backend."""
    sections = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.M)
    (own,) = (s for s in sections if s.startswith(f"{TITLES[BACKEND]}\n"))
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \|.*\| (.*)\|$", own, flags=re.M)
    assert len(rows) > 5
    return rows


@pytest.fixture
def small_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(2)(inputs)
    return keras_nfnets.AGCModel(inputs, outputs)


@pytest.mark.parametrize("sam", [None, keras_nfnets.SAM()], ids=["", "sam"])
def test_calls_of_a_step(small_model, monkeypatch, sam):
    # Adam has one update rule for each variable on every backend but PyTorch.
    optimizer = keras.optimizers.AdamW(clipnorm=1.0)
    eager = dict(run_eagerly=BACKEND != "jax", jit_compile=False)
    small_model.compile(optimizer, "mse", sam=sam, **eager)
    optimizer.build(small_model.trainable_variables)
    owners = {"AGCModel": type(small_model), "Model": type(small_model)}
    owners["Optimizer"] = type(optimizer)
    called = []

    def recording(name, function):
        def call(self, *args, **kwargs):
            called.append(name)
            return function(self, *args, **kwargs)

        return call

    for owner, name, _ in table():
        cls = owners[owner]
        monkeypatch.setattr(cls, name, recording(name, getattr(cls, name)))
    small_model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    # JAX and PyTorch call the loss before it, to build what it needs.
    called = called[called.index("train_step") :]
    if sam:
        # Of SAM's first gradient.
        second = called.index("scale_loss") + 1
        called = ["train_step", *called[second:]]
    assert list(dict.fromkeys(called)) == [name for _, name, _ in table()]


def test_agc_enters_where_the_table_says():
    from keras_nfnets.training import agc_step

    (name,) = (name for _, name, enters in table() if "AGC" in enters)
    assert name == agc_step._HOOKED_METHOD[BACKEND]


def test_the_page_names_the_tested_versions():
    from keras_nfnets.private_names import TESTED

    text = PAGE.read_text("utf-8")
    assert all(version in text for version in TESTED)
