"""Makes photographs, in a folder and in records, for the tests of this room."""

import pytest

from keras_nfnets import data

CLASSES = ("china", "flower")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder with ten JPEG and five PNG files for each of two classes.

    They are parts of scikit-learn's photographs.
    """
    datasets = pytest.importorskip("sklearn.datasets")
    image_file = pytest.importorskip("PIL.Image")
    images = datasets.load_sample_images().images
    root = tmp_path_factory.mktemp("photos")
    for image, name in zip(images, CLASSES, strict=True):
        (root / name).mkdir()
        for i in range(15):
            suffix = "png" if i % 3 == 0 else "JPG"
            part = image[10 * i : 10 * i + 130, 20 * i : 20 * i + 170]
            photo = image_file.fromarray(part)
            photo.save(root / name / f"{i:02}.{suffix}", quality=92)
    return root


@pytest.fixture(scope="session")
def records(photos, tmp_path_factory):
    """The photographs as records; every second one is for testing."""
    root = tmp_path_factory.mktemp("records") / "photos"
    pairs = [
        (file, label)
        for label, name in enumerate(CLASSES)
        for file in sorted((photos / name).iterdir())
    ]
    data.write_records(root, CLASSES, pairs[::2], pairs[1::2], shards=3)
    return root
