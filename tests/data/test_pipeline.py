"""Batches hold the prepared images of a source, in the order of a seed."""

import dataclasses
import importlib.util

import keras
import numpy as np
import pytest
from helpers import BACKEND, to_numpy
from small_data import PLAIN, RECIPE, arrays, assert_same, take

import keras_nfnets
from keras_nfnets import data

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow reads on every backend"
)


@pytest.fixture(params=["arrays", "folder", "tfrecord"])
def source(request, photos, records):
    return {
        "arrays": arrays,
        "folder": lambda: data.open_source(f"folder:{photos}"),
        "tfrecord": lambda: data.open_source(f"tfrecord:{records}"),
    }[request.param]()


def identities(batches):
    """Which of the images of `arrays` these are; they are of one value."""
    source = arrays()
    images = np.concatenate([images for images, *_ in batches])
    values = images * source.std + source.mean
    assert np.ptp(values, axis=(1, 2, 3)).max() < 1e-3
    return np.rint(values[:, 0, 0, 0]).astype(int)


def test_shapes_are_static_and_seed_and_step_decide(source):
    batches = data.train_batches(source, RECIPE, seed=1)
    images, rows = batches.element_spec
    assert images.shape == (8, 32, 32, source.channels)
    assert rows.shape == (8, len(source.class_names))
    whole = take(batches, 8)
    # Another pipeline of one seed: what leaving out batches gives.
    later = data.train_batches(source, RECIPE, seed=1, first_step=5)
    assert_same(take(later, 3), whole[5:])
    other = take(data.train_batches(source, RECIPE, seed=2), 1)
    assert np.abs(whole[0][0] - other[0][0]).max() > 0.1


def test_shapes_of_test_batches_are_static(source):
    images, rows, weights = data.test_batches(source, RECIPE).element_spec
    assert images.shape == (8, 48, 48, source.channels)
    assert rows.shape == (8, len(source.class_names))
    assert weights.shape == (8,)


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
    recipe = dataclasses.replace(
        RECIPE, mixup_fraction=0.0, cutmix_fraction=0.0
    )
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


def gradients():
    """A source of one image, whose channels are its coordinates."""
    across, down = np.meshgrid(np.arange(128.0), np.arange(128.0))
    image = np.stack([across, down, np.zeros_like(down)], -1)
    images, labels = np.stack([image, image]).astype("float32"), [0, 1]
    return data.from_arrays(images, labels, images, labels, "ab")


def sides_of_crops(**changes):
    """Width and height of 400 crops; a mirrored one has a negative width."""
    source = gradients()
    recipe = dataclasses.replace(
        PLAIN, random_crop=True, random_flip=True, batch_size=400, **changes
    )
    ((crops, _),) = take(data.train_batches(source, recipe, seed=3), 1)
    crops = crops * np.float32(source.std) + np.float32(source.mean)
    widths = crops[:, 16, 28, 0] - crops[:, 16, 4, 0]
    heights = crops[:, 28, 16, 1] - crops[:, 4, 16, 1]
    # 24 of 32 pixels were looked at.
    return widths * 32 / 24, heights * 32 / 24


@pytest.mark.parametrize("least", [0.08, 0.5])
def test_crops_show_that_fraction_of_the_image(least):
    widths, heights = sides_of_crops(crop_area=least)
    areas = np.abs(widths) * heights / 128**2
    # Sides are whole pixels, of 128; 400 draws come near both ends.
    assert least - 0.02 < areas.min() < least + 0.05
    assert 0.9 < areas.max() < 1.02


def test_flips_do_not_follow_crops():
    widths, heights = sides_of_crops()
    shapes = np.log(np.abs(widths) / heights), np.abs(widths) * heights
    for shape in shapes:
        # Four standard deviations of 400 throws.
        assert abs(np.corrcoef(widths > 0, shape)[0, 1]) < 0.2


def test_test_images_are_cropped_as_the_papers_do(photos):
    source = data.open_source(f"folder:{photos}")
    batches = take(data.test_batches(source, RECIPE), 9)
    images = np.concatenate([images for images, *_ in batches])
    name = source.test.name(0)
    image_file = pytest.importorskip("PIL.Image")
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
    arguments = recipe.compile_args(1)
    model.compile(
        **{k: v for k, v in arguments.items() if k not in ("agc", "sam")}
    )
    batches = data.test_batches(source, recipe)
    found = model.evaluate(batches, verbose=0, return_dict=True)
    taken = take(batches, 99)
    x, y, w = (np.concatenate(part) for part in zip(*taken, strict=True))
    expected = model.evaluate(
        x[w > 0], y[w > 0], batch_size=20, verbose=0, return_dict=True
    )
    assert found == pytest.approx(expected, rel=1e-5)


WHOLE = dataclasses.replace(
    RECIPE, randaugment_layers=2, randaugment_magnitude=10, repeats=2
)


def test_repeats_and_pairs_follow_from_the_step(photos):
    source = data.open_source(f"folder:{photos}")
    batches = take(data.train_batches(source, WHOLE, seed=1), 4)
    later = data.train_batches(source, WHOLE, seed=1, first_step=2)
    assert_same(take(later, 2), batches[2:])
    pixels = batches[0][0] * np.float32(source.std) + np.float32(source.mean)
    # The papers' bytes, and roundings of their normalization.
    np.testing.assert_allclose(pixels, np.rint(pixels), rtol=0, atol=1e-3)
    assert 0 <= np.rint(pixels).min() and np.rint(pixels).max() <= 255


def test_two_hosts_have_the_repeats_and_pairs_of_one(photos):
    source = data.open_source(f"folder:{photos}")
    ((images, rows),) = take(data.train_batches(source, WHOLE, seed=1), 1)
    for host in range(2):
        share = data.train_batches(source, WHOLE, seed=1, host=host, hosts=2)
        ((its_images, its_rows),) = take(share, 1)
        # Every second image, with its copy.
        own = np.arange(8).reshape(4, 2)[host::2].ravel()
        np.testing.assert_array_equal(its_images, images[own])
        np.testing.assert_array_equal(its_rows, rows[own])


def test_repeats_are_copies_with_crops_of_their_own(photos):
    recipe = dataclasses.replace(PLAIN, repeats=4)
    numbers = identities(take(data.train_batches(arrays(), recipe), 10))
    copies = numbers.reshape(20, 4)
    np.testing.assert_array_equal(copies, copies[:, :1].repeat(4, axis=1))
    assert sorted(copies[:, 0]) == list(range(20))
    source = data.open_source(f"folder:{photos}")
    recipe = dataclasses.replace(recipe, random_crop=True)
    ((images, rows),) = take(data.train_batches(source, recipe), 1)
    assert len(np.unique(images, axis=0)) == 8
    assert (rows.reshape(2, 4, -1).std(axis=1) == 0).all()


def test_a_layer_of_keras_follows_from_seed_and_step():
    layer = data.StatelessLayer(keras.layers.RandomBrightness, factor=0.5)
    whole, again, other = (
        take(data.train_batches(arrays(), RECIPE, seed, step, augment=layer), 2)
        for seed, step in ((1, 0), (1, 1), (2, 0))
    )
    assert_same(again[:1], whole[1:])
    assert np.abs(whole[0][0] - other[0][0]).max() > 0.1


def test_other_augmentation_takes_the_place_of_the_recipes(photos):
    source = data.open_source(f"folder:{photos}")
    batches = data.train_batches(
        source, RECIPE, augment=lambda images: images * 0
    )
    ((images, rows),) = take(batches, 1)
    pixels = images * np.float32(source.std) + np.float32(source.mean)
    np.testing.assert_allclose(pixels, 0.0, atol=1e-4)
    assert set(rows.ravel()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(host=0, hosts=3), "`batch_size` must be divisible.*hosts=3"),
        (dict(host=2, hosts=2), "`host` must be from 0.*host=2"),
        (dict(first_step=-1), "`first_step` must not be negative"),
        (
            dict(recipe=dataclasses.replace(PLAIN, repeats=4), hosts=4),
            "`batch_size` must be divisible by .*=8, hosts=4 and repeats=4",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.train_batches(arrays(), **dict(recipe=PLAIN) | arguments)


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
