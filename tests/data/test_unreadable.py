"""Images that cannot be read are named, replaced and counted."""

import json
import logging
import shutil

import numpy as np
import pytest
from helpers import BACKEND
from small_data import PLAIN, arrays, assert_same, take

from keras_nfnets import data

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow reads on every backend"
)


def test_corrupt_images_are_named_and_replaced(photos, tmp_path, caplog):
    root = shutil.copytree(photos, tmp_path / "photos")
    whole = data.open_source(f"folder:{root}")
    bad = [whole.train.name(i) for i in (3, 4, 20)]
    for name in bad:
        with open(name, "r+b") as file:
            file.truncate(30)
    source = data.open_source(f"folder:{root}")
    with caplog.at_level(logging.WARNING, "keras_nfnets"):
        batches = take(data.train_batches(source, PLAIN, seed=1), 6)
    assert set(source.skipped.values()) == set(bad)
    assert all(name in caplog.text for name in bad)
    # The others keep their places.
    good = take(
        data.train_batches(data.open_source(f"folder:{photos}"), PLAIN, seed=1),
        6,
    )
    same = [
        (image == other).all()
        for (images, _), (others, _) in zip(batches, good, strict=True)
        for image, other in zip(images, others, strict=True)
    ]
    assert len(same) - sum(same) == 6  # three images in two epochs of 24
    later = data.train_batches(source, PLAIN, seed=1, first_step=2)
    assert_same(take(later, 4), batches[2:])


def test_corrupt_test_image_has_no_weight(photos, tmp_path):
    root = shutil.copytree(photos, tmp_path / "photos")
    whole = data.open_source(f"folder:{root}")
    for index in (0, whole.test_count - 1):
        with open(whole.test.name(index), "wb") as file:
            file.write(b"no image")
    source = data.open_source(f"folder:{root}")
    batches = take(data.test_batches(source, PLAIN), 9)
    weights = np.concatenate([weights for *_, weights in batches])
    assert (weights > 0).sum() == source.test_count - 2
    assert len(source.skipped) == 2


def test_too_many_corrupt_images_stop_the_run(capsys):
    source = arrays()
    count = source.train_count
    callback = data.SkippedImages(source, batch_size=count, fraction=2 / count)
    callback.on_epoch_end(0)
    assert capsys.readouterr().out == ""
    # Read ahead, an image of the next epoch has no part in this one's count.
    numbers = {("train", n): str(n) for n in (0, count - 1, count)}
    source.skipped.update(numbers)
    callback.on_train_batch_begin(0)
    callback.on_epoch_end(0)
    assert capsys.readouterr().out.startswith("2 images could not be read")
    callback.on_epoch_end(1)
    assert capsys.readouterr().out.startswith("1 images could not be read")
    source.skipped["train", 1] = "c"
    with pytest.raises(ValueError, match="of the images.*Received: 3.*'c'"):
        callback.on_train_batch_begin(0)


def test_epochs_of_images_that_are_read_in_pairs():
    source = arrays()
    callback = data.SkippedImages(source, batch_size=10, images_per_step=20)
    source.skipped.update({("train", n): str(n) for n in (39, 40)})
    # Two steps an epoch, of 20 images each.
    assert callback._check() == {0: ["39"], 1: ["40"]}


def test_corrupt_held_out_images_have_a_count_of_their_own(capsys):
    source = arrays()
    callback = data.SkippedImages(source, batch_size=4, fraction=0.001)
    source.skipped.update({("train", 0): "a", ("test", 0): "b"})
    callback.on_epoch_end(0)
    assert "1 held-out images" in capsys.readouterr().out
    source.skipped["test", 1] = "c"
    with pytest.raises(ValueError, match="1 of .*Received: 2 .*'c'"):
        callback.on_epoch_end(1)


def test_a_run_that_resumes_reports_held_out_images_once(capsys):
    source = arrays()
    callback = data.SkippedImages(source, batch_size=4)
    callback.on_epoch_end(7)
    assert capsys.readouterr().out == ""
    source.skipped["test", 0] = "b"
    callback.on_epoch_end(8)
    assert "1 held-out images" in capsys.readouterr().out
    callback.on_epoch_end(9)
    assert capsys.readouterr().out == ""


def test_labels_of_no_class_in_records_are_left_out(photos, tmp_path):
    files = sorted((photos / "china").iterdir())[:8]
    pairs = [(file, index % 3) for index, file in enumerate(files)]
    root = tmp_path / "records"
    data.write_records(root, "abc", pairs, pairs, shards=1)
    index = json.loads((root / "dataset.json").read_text())
    index["class_names"] = ["a", "b"]
    (root / "dataset.json").write_text(json.dumps(index))
    source = data.open_source(f"tfrecord:{root}")
    weights = [w for *_, w in take(data.test_batches(source, PLAIN), 9)]
    assert (np.concatenate(weights) > 0).sum() == 6
    assert set(source.skipped) == {("test", 2), ("test", 5)}
