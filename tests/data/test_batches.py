"""From a source to batches: what is in them, and in which order."""

import dataclasses
import importlib.util
import json
import logging
import shutil
from itertools import pairwise

import keras
import numpy as np
import pytest
from helpers import BACKEND, to_numpy

import keras_nfnets
from keras_nfnets import data, recipes
from keras_nfnets.data.order import shuffled

tf = pytest.importorskip("tensorflow")
sample = pytest.importorskip("sklearn.datasets").load_sample_images()
image_file = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow reads on every backend"
)

# All of the papers' recipe but RandAugment, which has tests of its own.
RECIPE = dataclasses.replace(
    recipes.get("nfnet_f0").scaled(8, 2, 32), randaugment_layers=0, test_size=48
)
PLAIN = dataclasses.replace(
    RECIPE,
    random_crop=False,
    random_flip=False,
    mixup_share=0.0,
    cutmix_share=0.0,
)
CLASSES = ("china", "flower")


def photograph(label, index):
    """A part of one of scikit-learn's photographs."""
    top, left = 10 * index, 20 * index
    return sample.images[label][top : top + 130, left : left + 170]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with ten JPEG and five PNG files for each of two classes."""
    root = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(CLASSES):
        (root / name).mkdir()
        for i in range(15):
            suffix = "png" if i % 3 == 0 else "JPG"
            photo = image_file.fromarray(photograph(label, i))
            photo.save(root / name / f"{i:02}.{suffix}", quality=92)
    return root


@pytest.fixture(scope="module")
def records(photos, tmp_path_factory):
    root = tmp_path_factory.mktemp("records") / "photos"
    pairs = [
        (file, label)
        for label, name in enumerate(CLASSES)
        for file in sorted((photos / name).iterdir())
    ]
    data.write_records(root, CLASSES, pairs[::2], pairs[1::2], shards=3)
    return root


def arrays():
    images = np.arange(20, dtype="float32").reshape(20, 1, 1, 1)
    images = np.broadcast_to(images, (20, 4, 4, 1))
    labels = np.arange(20) % 2
    return data.from_arrays(images, labels, images, labels, "ab")


@pytest.fixture(params=["arrays", "folder", "tfrecord"])
def source(request, photos, records):
    return {
        "arrays": arrays,
        "folder": lambda: data.open_source(f"folder:{photos}"),
        "tfrecord": lambda: data.open_source(f"tfrecord:{records}"),
    }[request.param]()


def take(batches, count):
    return [tuple(map(np.asarray, batch)) for batch in batches.take(count)]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for batch, other in zip(ours, theirs, strict=True):
        for part, its in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, its)


def identities(batches):
    """Which of the images of `arrays` these are; they are of one value."""
    source = arrays()
    images = np.concatenate([images for images, *_ in batches])
    values = images * source.std + source.mean
    assert np.ptp(values, axis=(1, 2, 3)).max() < 1e-3
    return np.rint(values[:, 0, 0, 0]).astype(int)


def test_shapes_are_static(source):
    batches = data.train_batches(source, RECIPE)
    images, rows = batches.element_spec
    assert images.shape == (8, 32, 32, source.channels)
    assert rows.shape == (8, len(source.class_names))
    images, rows, weights = data.test_batches(source, RECIPE).element_spec
    assert images.shape == (8, 48, 48, source.channels)
    assert weights.shape == (8,)


def test_first_step_is_what_leaving_out_batches_gives(source):
    whole = take(data.train_batches(source, RECIPE, seed=1), 8)
    later = data.train_batches(source, RECIPE, seed=1, first_step=5)
    assert_same(take(later, 3), whole[5:])


def test_seed_decides(source):
    first, again, other = (
        take(data.train_batches(source, RECIPE, seed=seed), 2)
        for seed in (1, 1, 2)
    )
    assert_same(first, again)
    assert np.abs(first[0][0] - other[0][0]).max() > 0.1


def test_every_image_comes_once_an_epoch_in_another_order():
    batches = take(data.train_batches(arrays(), PLAIN, seed=3), 5)
    numbers = identities(batches)
    first, second = numbers[:20], numbers[20:]
    assert sorted(first) == sorted(second) == list(range(20))
    assert list(first) != list(second)


def test_records_come_once_an_epoch(records):
    source = data.open_source(f"tfrecord:{records}")
    assert source.train_count == 15
    batches = take(data.train_batches(source, PLAIN, seed=3), 15)
    images = np.concatenate([images for images, _ in batches])
    epochs = images.reshape(8, 15, -1)
    order = [np.lexsort(epoch.T[:3]) for epoch in epochs]
    for epoch, its in zip(epochs, order, strict=True):
        np.testing.assert_array_equal(epoch[its], epochs[0][order[0]])
    assert len({tuple(its) for its in order}) > 4


def test_labels_are_those_of_the_images():
    batches = take(data.train_batches(arrays(), PLAIN), 3)
    rows = np.concatenate([rows for _, rows in batches])
    np.testing.assert_array_equal(rows.argmax(-1), identities(batches) % 2)
    np.testing.assert_array_equal(rows.sum(-1), 1.0)


def test_two_hosts_have_the_images_of_one():
    alone = take(data.train_batches(arrays(), PLAIN, seed=1), 4)
    shares = [
        take(data.train_batches(arrays(), PLAIN, seed=1, host=h, hosts=2), 4)
        for h in range(2)
    ]
    for batch, *parts in zip(alone, *shares, strict=True):
        together = np.concatenate([identities([part]) for part in parts])
        assert sorted(together) == sorted(identities([batch]))
        assert len(parts[0][0]) == 4


def test_two_hosts_read_other_files(records):
    source = data.open_source(f"tfrecord:{records}")
    first, second = (
        take(data.test_batches(source, PLAIN, host=h, hosts=2), 9)
        for h in range(2)
    )
    real = [
        images[weights > 0]
        for part in (first, second)
        for images, _, weights in part
    ]
    images = np.concatenate(real)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 15


def test_training_images_are_normalized_crops(photos):
    source = data.open_source(f"folder:{photos}")
    recipe = dataclasses.replace(RECIPE, mixup_share=0.0, cutmix_share=0.0)
    ((images, _),) = take(data.train_batches(source, recipe, seed=1), 1)
    pixels = images * np.float32(source.std) + np.float32(source.mean)
    assert -60 < pixels.min() < 60 and 200 < pixels.max() < 320
    mixed = data.train_batches(source, RECIPE, seed=1)
    ((others, _),) = take(mixed, 1)
    pixels = others * np.float32(source.std) + np.float32(source.mean)
    # No overshooting where an augmentation counts on [0, 255].
    assert -1e-3 < pixels.min() < 60 and 200 < pixels.max() < 255.001
    ((squashed, _),) = take(data.train_batches(source, PLAIN, seed=1), 1)
    assert np.abs(images - squashed).mean() > 0.1


def test_flipped_images_are_mirrored_and_about_half():
    images = np.zeros((64, 32, 32, 1), "float32")
    images[:, :, :16] = 255
    labels = np.arange(64) % 2
    source = data.from_arrays(images, labels, images, labels, "ab")
    recipe = dataclasses.replace(PLAIN, random_flip=True, batch_size=64)
    ((images, _),) = take(data.train_batches(source, recipe), 1)
    mirrored = images[:, 0, 0, 0] < images[:, 0, -1, 0]
    # Four standard deviations of 64 throws.
    assert 16 < mirrored.sum() < 48


@pytest.mark.parametrize("count", [32, 200, 1437])
def test_orders_are_random(count):
    places = np.arange(count)
    orders = [
        [np.asarray(shuffled(places + e * count, count, s)) for e in range(10)]
        for s in range(6)
    ]
    flat = [order for epochs in orders for order in epochs]
    assert all((np.sort(order) == places).all() for order in flat)
    # Four standard deviations of 60 orders: what is left of a random one's
    # correlation has a deviation of 1, and one image stays, on average.
    left = [np.corrcoef(o, places)[0, 1] * (count - 1) ** 0.5 for o in flat]
    assert np.sqrt(np.mean(np.square(left))) < 1 + 4 / 120**0.5
    assert np.mean([(o == places).sum() for o in flat]) < 1 + 4 / 60**0.5
    again = [(a == b).sum() for e in orders for a, b in pairwise(e)]
    assert np.mean(again) < 1 + 4 / 54**0.5
    assert int(shuffled(7, count, 3)) == orders[3][0][7]


def test_flips_do_not_follow_crops():
    across, down = np.meshgrid(np.arange(128.0), np.arange(128.0))
    image = np.stack([across, down, np.zeros_like(down)], -1)
    images, labels = np.stack([image, image]).astype("float32"), [0, 1]
    source = data.from_arrays(images, labels, images, labels, "ab")
    recipe = dataclasses.replace(
        PLAIN, random_crop=True, random_flip=True, batch_size=400
    )
    ((crops, _),) = take(data.train_batches(source, recipe, seed=3), 1)
    crops = crops * np.float32(source.std) + np.float32(source.mean)
    widths = crops[:, 16, 28, 0] - crops[:, 16, 4, 0]
    heights = crops[:, 28, 16, 1] - crops[:, 4, 16, 1]
    shapes = np.log(np.abs(widths) / heights), np.abs(widths) * heights
    for shape in shapes:
        # Four standard deviations of 400 throws.
        assert abs(np.corrcoef(widths > 0, shape)[0, 1]) < 0.2


def test_test_images_are_cropped_as_the_papers_do(photos):
    source = data.open_source(f"folder:{photos}")
    batches = take(data.test_batches(source, RECIPE), 9)
    images = np.concatenate([images for images, *_ in batches])
    name = source.test.name(0)
    image = np.asarray(image_file.open(name), "float32")
    crop = keras_nfnets.evaluation_crop(image, "nfnet_f0", size=48)
    expected = to_numpy(keras_nfnets.preprocess_input(crop))
    # Two bicubic kernels in float32, of values up to 255 over a deviation.
    np.testing.assert_allclose(images[0], expected, atol=2e-4)


def test_weights_make_means_exact(source):
    batches = take(data.test_batches(source, RECIPE), 99)
    rows = np.concatenate([rows for _, rows, _ in batches])
    weights = np.concatenate([weights for *_, weights in batches])
    assert len(weights) % 8 == 0
    assert (weights > 0).sum() == source.test_count
    assert len(set(weights[weights > 0])) == 1
    # So that Keras's loss, which divides by all rows, is that of the images.
    assert weights.sum() == pytest.approx(len(weights), rel=1e-6)
    assert (rows[weights > 0].sum(-1) == 1).all()


def test_evaluation_is_that_of_all_images_at_once():
    source = arrays()
    recipe = dataclasses.replace(PLAIN, test_size=32, test_margin=0)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    model.compile(
        loss="categorical_crossentropy", weighted_metrics=["accuracy"]
    )
    batches = data.test_batches(source, recipe)
    found = model.evaluate(batches, verbose=0, return_dict=True)
    taken = take(batches, 99)
    x, y, w = (np.concatenate(part) for part in zip(*taken, strict=True))
    expected = model.evaluate(
        x[w > 0], y[w > 0], batch_size=20, verbose=0, return_dict=True
    )
    assert found == pytest.approx(expected, rel=1e-5)


def test_other_augmentation_takes_the_place_of_the_recipes(photos):
    source = data.open_source(f"folder:{photos}")
    batches = data.train_batches(
        source, RECIPE, augment=lambda images: images * 0
    )
    ((images, rows),) = take(batches, 1)
    pixels = images * np.float32(source.std) + np.float32(source.mean)
    np.testing.assert_allclose(pixels, 0.0, atol=1e-4)
    assert set(rows.ravel()) == {0.0, 1.0}


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
    callback = data.SkippedImages(source, batch_size=count, share=2 / count)
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


def test_corrupt_held_out_images_have_a_count_of_their_own(capsys):
    source = arrays()
    callback = data.SkippedImages(source, batch_size=4, share=0.001)
    source.skipped.update({("train", 0): "a", ("test", 0): "b"})
    callback.on_epoch_end(0)
    assert "1 held-out images" in capsys.readouterr().out
    source.skipped["test", 1] = "c"
    with pytest.raises(ValueError, match="1 of .*Received: 2 .*'c'"):
        callback.on_epoch_end(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(host=0, hosts=3), "`batch_size` must be divisible.*hosts=3"),
        (dict(host=2, hosts=2), "`host` must be from 0.*host=2"),
        (dict(first_step=-1), "`first_step` must not be negative"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.train_batches(arrays(), PLAIN, **arguments)


def test_labels_of_no_class_in_records_are_left_out(photos, tmp_path):
    files = sorted((photos / CLASSES[0]).iterdir())[:8]
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


def test_more_hosts_than_files(records):
    source = data.open_source(f"tfrecord:{records}")
    with pytest.raises(ValueError, match="`hosts` must not be above.*3.*=4"):
        data.train_batches(source, PLAIN, host=0, hosts=4)


@pytest.mark.skipif(
    importlib.util.find_spec("keras_cv") is None,
    reason="needs the extra [keras-cv]",
)
def test_keras_cv_layer_takes_the_place_of_the_recipes(photos):
    from keras_cv.layers import RandAugment

    source = data.open_source(f"folder:{photos}")
    layer = RandAugment(value_range=(0, 255), magnitude=0.5, seed=0)
    changed, plain = (
        take(data.train_batches(source, PLAIN, augment=augment), 1)[0]
        for augment in (layer, None)
    )
    assert changed[0].shape == plain[0].shape
    assert np.isfinite(changed[0]).all()
    assert not np.allclose(changed[0], plain[0])
    np.testing.assert_array_equal(changed[1], plain[1])
