"""Digits and images from files come as arrays, with their normalization."""

import keras
import numpy as np
import pytest

from keras_nfnets.data import digits, normalize, read_image


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


def test_normalize_is_per_channel():
    images = np.full((2, 4, 4, 2), 10.0)
    result = normalize(images, (4.0, 10.0), (2.0, 5.0))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[..., 0], 3.0)
    np.testing.assert_array_equal(result[..., 1], 0.0)


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
        (cut, "Invalid PNG data"),
        (tmp_path / "none.png", "No such file"),
        (tmp_path, "not a file but a folder"),
    ]:
        with pytest.raises(ValueError, match=reason) as error:
            read_image(path, 32, 1)
        assert str(path) in str(error.value)


def test_read_image_bad_channels(tmp_path, pillow):
    with pytest.raises(ValueError, match="must be 1 or 3. .*channels=2"):
        read_image(tmp_path / "image.png", 32, channels=2)
