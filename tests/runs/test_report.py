"""A training says what it will do, and at its end what it did."""

import csv

import keras
import pytest
from helpers import BACKEND, tiny_variant

import keras_nfnets
from keras_nfnets.runs import Run, from_options, report
from keras_nfnets.training.distribution import Devices

ROWS = [
    {"epoch": 1, "val_accuracy": 0.5, "images_per_second": 100.0},
    {"epoch": 2, "val_accuracy": 0.75, "images_per_second": 1300.0},
    {"epoch": 3, "val_accuracy": 0.625, "images_per_second": 1200.0},
]


@pytest.mark.skipif(BACKEND == "torch", reason="TensorFlow reads the images")
def test_plan_says_what_will_be_done(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    source = keras_nfnets.data.open_source("digits")
    settings = from_options(recipe="nfnet_pico", epochs=3, batch_size=48)
    model = keras_nfnets.NFNet(
        tiny_variant(), input_shape=(32, 32, 1), classes=10
    )
    report.print_plan(settings, source, model, 29, Devices())
    text = capsys.readouterr().out
    for part in (
        f"nfnet_pico, {model.count_params():,} parameters",
        "1,437 for training, 360 held out, 10 classes, 32 px",
        "3 epochs of 29 batches of 48 images",
        f" on {keras.backend.backend()}",
        "float32",
    ):
        assert part in text


def test_result_says_what_it_took(tmp_path, capsys):
    run = Run(tmp_path)
    with run.history.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    report.print_result(run, seconds=3.4 * 3600)
    text = " ".join(capsys.readouterr().out.split())
    assert "0.7500 of the held-out images right after" in text
    assert "epoch 2" in text
    assert "3 h 24 min" in text and "1,200 images per second" in text


def test_peak_memory_counts_what_was_held():
    before = report.peak_memory()
    held = bytearray(64_000_000)
    held[::4096] = b"x" * len(held[::4096])
    # The process may have held as much before.
    assert before <= report.peak_memory() >= len(held)


def test_result_names_a_column_that_is_missing(tmp_path):
    run = Run(tmp_path)
    run.history.write_text("epoch,accuracy\n1,0.5\n")
    with pytest.raises(ValueError, match="a column `val_accuracy`. Received"):
        report.print_result(run, seconds=1.0)
