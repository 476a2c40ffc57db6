import keras
import numpy as np
import pytest

from keras_nfnets.data import (
    Batches,
    digits,
    load,
    normalize,
    one_hot,
    read_image,
)


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("sklearn")
    return digits(size=32)


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image")


def test_digits_shapes(data):
    assert data.train_images.shape == (1437, 32, 32, 1)
    assert data.test_images.shape == (360, 32, 32, 1)
    assert data.train_labels.shape == (1437,)
    assert data.test_labels.shape == (360,)
    assert data.class_names == tuple("0123456789")
    assert data.train_images.dtype == np.float32
    assert 0 <= data.train_images.min() and data.train_images.max() <= 255
    assert data.train_images.max() > 254


def test_digits_size_is_an_argument():
    pytest.importorskip("sklearn")
    assert digits(size=40).test_images.shape == (360, 40, 40, 1)


def test_digits_hold_out_a_fifth_of_each_class(data):
    train = np.bincount(data.train_labels)
    test = np.bincount(data.test_labels)
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.01)


def test_digits_split_does_not_follow_the_training_seed(data):
    keras.utils.set_random_seed(7)
    np.testing.assert_array_equal(digits().test_images, data.test_images)
    other = digits(split_seed=1)
    assert not np.array_equal(other.test_labels, data.test_labels)


def test_digits_no_image_is_in_both_parts(data):
    train = {image.tobytes() for image in data.train_images}
    assert not train & {image.tobytes() for image in data.test_images}


def test_digits_normalize_to_mean_0_and_std_1(data):
    images = normalize(data.train_images, data.mean, data.std)
    assert abs(images.mean()) < 1e-3
    assert abs(images.std() - 1) < 1e-3


def test_digits_size_must_be_positive():
    with pytest.raises(ValueError, match="`size` must be positive.*size=0"):
        digits(size=0)


def test_load_unknown_name():
    with pytest.raises(ValueError, match=r"one of \['digits'\].*'mnist'"):
        load("mnist", 32)


def test_normalize_is_per_channel():
    images = np.full((2, 4, 4, 2), 10.0)
    result = normalize(images, (4.0, 10.0), (2.0, 5.0))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[..., 0], 3.0)
    np.testing.assert_array_equal(result[..., 1], 0.0)


def test_one_hot():
    expected = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    np.testing.assert_array_equal(one_hot([1, 2, 0], 3), expected)


@pytest.mark.parametrize(
    ("labels", "shown"), [([0, 3], "[3]"), ([-1, 0], "[-1]"), ([0.5], "[0.5]")]
)
def test_one_hot_label_outside_the_classes(labels, shown):
    with pytest.raises(ValueError, match="from 0 to 2") as error:
        one_hot(labels, 3)
    assert f"Received: {shown}" in str(error.value)


def epochs_of(batches, count):
    seen = []
    for _ in range(count):
        seen.append([batches[i][1].tolist() for i in range(len(batches))])
        batches.on_epoch_end()
    return seen


def test_batches_show_every_image_once_per_epoch():
    targets = np.arange(12)
    batches = Batches(targets[:, None] * 2, targets, 4)
    for epoch in epochs_of(batches, 2):
        assert sorted(sum(epoch, [])) == list(range(12))
    images, targets = batches[0]
    np.testing.assert_array_equal(images[:, 0], targets * 2)


def test_batches_leave_out_what_does_not_fill_one():
    batches = Batches(np.arange(10), np.arange(10), 4)
    assert len(batches) == 2
    assert all(len(batches[i][0]) == 4 for i in range(2))


def test_batches_order_follows_from_seed_and_epoch():
    first = epochs_of(Batches(np.arange(20), np.arange(20), 5, seed=1), 3)
    again = epochs_of(Batches(np.arange(20), np.arange(20), 5, seed=1), 3)
    other = epochs_of(Batches(np.arange(20), np.arange(20), 5, seed=2), 3)
    late = Batches(np.arange(20), np.arange(20), 5, seed=1)
    late.begin(2)
    assert first == again
    assert first[0] != first[1]
    assert first[0] != other[0]
    assert epochs_of(late, 1) == first[2:]


@pytest.mark.parametrize("batch_size", [0, 11])
def test_batches_bad_batch_size(batch_size):
    with pytest.raises(ValueError, match="between 1 and .* 10. Received"):
        Batches(np.arange(10), np.arange(10), batch_size)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_read_image(tmp_path, pillow, suffix, channels):
    path = tmp_path / f"image.{suffix}"
    pillow.new("RGB", (50, 20), (200, 200, 200)).save(path)
    image = read_image(path, size=32, channels=channels)
    assert image.shape == (32, 32, channels)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, 200, atol=1)


def test_read_image_with_palette_and_transparency(tmp_path, pillow):
    pillow.new("P", (8, 8)).save(tmp_path / "p.png")
    pillow.new("RGBA", (8, 8), (255, 0, 0, 9)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "p.png", 16, 3).shape == (16, 16, 3)
    assert read_image(tmp_path / "a.png", 16, 1).shape == (16, 16, 1)


def test_read_image_bad_files(tmp_path, pillow):
    text, cut, other = (tmp_path / n for n in ("t.png", "c.png", "o.gif"))
    text.write_text("not an image")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), "uint8")
    pillow.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    pillow.new("L", (8, 8)).save(other)
    for path, reason in [
        (text, "not a PNG or JPEG image"),
        (other, "not a PNG or JPEG image"),
        (cut, "truncated"),
        (tmp_path / "none.png", "No such file"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(ValueError, match=reason) as error:
            read_image(path, 32, 1)
        assert str(path) in str(error.value)


def test_read_image_bad_channels(tmp_path, pillow):
    with pytest.raises(ValueError, match="must be 1 or 3. .*channels=2"):
        read_image(tmp_path / "image.png", 32, channels=2)
