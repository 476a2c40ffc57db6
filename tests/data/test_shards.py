"""Records that are missing stop a run, and the error names the shard."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import BACKEND

from keras_nfnets import data, recipes
from keras_nfnets.data.shards import count_records

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow reads on every backend"
)
RECIPE = dataclasses.replace(
    recipes.get("nfnet_f0").scaled(4, 2, 32),
    random_crop=False,
    mixup_fraction=0.0,
    cutmix_fraction=0.0,
    randaugment_layers=0,
)


@pytest.fixture
def root(tmp_path):
    pairs = []
    for index in range(16):
        file = tmp_path / f"{index}.png"
        image = np.full((4, 4, 3), index, "uint8")
        file.write_bytes(tf.io.encode_png(image).numpy())
        pairs.append((file, index % 2))
    data.write_records(tmp_path / "records", "ab", pairs, pairs, shards=2)
    return tmp_path / "records"


def flipped(content, place):
    content = bytearray(content)
    content[place] ^= 1
    return bytes(content)


DAMAGE = {
    "empty": lambda content: b"",
    "length": lambda content: flipped(content, 3),
    "record": lambda content: flipped(content, len(content) // 2),
    "checksum": lambda content: flipped(content, len(content) - 1),
    "cut off": lambda content: content[:-1],
    "twice": lambda content: content * 2,
}
READ = {
    "train": lambda own: data.train_batches(own, RECIPE).take(8),
    "resumed": lambda own: data.train_batches(own, RECIPE, first_step=7).take(
        3
    ),
    "two hosts": lambda own: data.train_batches(
        own, RECIPE, host=1, hosts=2
    ).take(8),
    "test": lambda own: data.test_batches(own, RECIPE),
}


def read(root, way):
    source = data.open_source(f"tfrecord:{root}")
    with data.whole_shards(source):
        return len(list(READ[way](source)))


@pytest.mark.parametrize(
    ("way", "damage"),
    [("train", damage) for damage in DAMAGE]
    + [
        (way, kind)
        for way in ("resumed", "test")
        for kind in ("empty", "twice")
    ],
)
def test_damaged_shard_is_named(root, damage, way):
    assert read(root, way) > 2
    part = "test" if way == "test" else "train"
    shard = root / f"{part}-00001-of-00002"
    shard.write_bytes(DAMAGE[damage](shard.read_bytes()))
    with pytest.raises(ValueError, match=f"16 records.*see {shard} "):
        read(root, way)


@pytest.mark.parametrize("damage", ["empty", "cut off"])
def test_hosts_count_before_they_begin(root, damage):
    assert read(root, "two hosts") == 8
    shard = root / "train-00000-of-00002"
    shard.write_bytes(DAMAGE[damage](shard.read_bytes()))
    with pytest.raises(ValueError, match=f"16 records.*see {shard} "):
        read(root, "two hosts")


@pytest.mark.parametrize("way", ["train", "test"])
def test_no_records_at_all(root, way):
    for shard in root.glob("t*-of-*"):
        shard.write_bytes(b"")
    with pytest.raises(ValueError, match="16 records.*Received: 0;"):
        read(root, way)


@pytest.mark.parametrize("count", [15, 17])
@pytest.mark.parametrize("part", ["train", "test"])
def test_count_is_not_believed(root, part, count):
    index = json.loads((root / "dataset.json").read_text())
    index[part]["count"] = count
    (root / "dataset.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"must have {count} records"):
        read(root, part)


def test_records_are_counted(root):
    assert [count_records(file) for file in root.glob("train-*")] == [8, 8]
