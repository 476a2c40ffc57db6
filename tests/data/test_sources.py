"""Sources give the images that are there, and refuse what cannot be used."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from helpers import BACKEND, least_variant

import keras_nfnets
from keras_nfnets import data, recipes
from keras_nfnets.data.tfds import PAPERS_SPLITS

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow reads on every backend"
)
RECIPE = dataclasses.replace(recipes.get("nfnet_f0").scaled(4, 2, 32))


def write_image(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((12, 16, 3), value, "uint8")
    path.write_bytes(tf.io.encode_png(image).numpy())


def write_classes(root, names=("cat", "dog"), count=10):
    for name in names:
        for i in range(count):
            write_image(root / name / f"{i}.png")


def test_digits():
    source = data.open_source("digits")
    assert (source.train_count, source.test_count) == (1437, 360)
    assert source.class_names == tuple("0123456789")
    assert source.channels == 1


def test_folder_holds_out_a_fifth_of_each_class(tmp_path):
    write_classes(tmp_path)
    write_image(tmp_path / "dog" / "eleven.PNG")
    (tmp_path / "dog" / "notes.txt").write_text("not one")
    (tmp_path / ".cache").mkdir()
    source = data.open_source(f"folder:{tmp_path}")
    assert source.class_names == ("cat", "dog")
    assert (source.train_count, source.test_count) == (17, 4)
    names = {source.train.name(i) for i in range(17)}
    held_out = {source.test.name(i) for i in range(4)}
    assert len(names | held_out) == 21
    for i in range(4):
        _, label = source.test.read(i)
        assert f"/{source.class_names[int(label)]}/" in source.test.name(i)
    again = data.folder(tmp_path)
    assert {again.test.name(i) for i in range(4)} == held_out
    other = data.folder(tmp_path, split_seed=1)
    assert {other.test.name(i) for i in range(4)} != held_out


def test_folder_with_two_parts(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "val", count=2)
    source = data.open_source(f"folder:{tmp_path}")
    assert (source.train_count, source.test_count) == (20, 4)
    shutil.rmtree(tmp_path / "val" / "dog")
    with pytest.raises(ValueError, match=r"same classes.*\['dog'\]"):
        data.folder(tmp_path)


def test_folder_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder:.*nowhere"):
        data.open_source(f"folder:{tmp_path}/nowhere")
    with pytest.raises(ValueError, match="a subfolder per class"):
        data.folder(tmp_path)
    write_classes(tmp_path, ["cat"])
    with pytest.raises(ValueError, match=r"two classes. Received: \['cat'\]"):
        data.folder(tmp_path)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.jpg").write_text("no image")
    with pytest.raises(ValueError, match="'dog' has no .* 1 files in"):
        data.folder(tmp_path)


def test_folder_too_small_to_hold_anything_out(tmp_path):
    write_classes(tmp_path, count=2)
    with pytest.raises(ValueError, match="The test part must not be empty"):
        data.folder(tmp_path)


IMAGES, LABELS = np.zeros((4, 8, 8, 3)), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (IMAGES[0], LABELS, "ab", "`train_images` must be .*(8, 8, 3)"),
        (IMAGES[..., :2], LABELS, "ab", "`train_images` must be .*2"),
        (IMAGES, LABELS[:3], "ab", "`train_labels` must be one per image, 4"),
        (IMAGES, LABELS + 1, "ab", r"from 0 to 1. Received: \[2\]"),
        (IMAGES, LABELS - 1, "ab", r"from 0 to 1. Received: \[-1\]"),
        (IMAGES, LABELS / 2, "ab", r"must be integers"),
        (IMAGES[:0], LABELS[:0], "ab", "The train part must not be empty"),
    ],
)
def test_arrays_bad_input(images, labels, names, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(images, labels, IMAGES, LABELS, names)


def test_arrays_of_one_class():
    with pytest.raises(ValueError, match=r"two classes. Received: \['a'\]"):
        data.from_arrays(IMAGES, LABELS * 0, IMAGES, LABELS * 0, "a")


@pytest.mark.parametrize(
    "name", ["mnist", "digits:8", "folder", "folder:", "Folder:x", ""]
)
def test_unknown_kind(name):
    with pytest.raises(ValueError, match="`data` must be digits, folder:PATH"):
        data.open_source(name)


def test_records_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="with a dataset.json"):
        data.open_source(f"tfrecord:{tmp_path}")
    index = dict(class_names=["a", "b"], first_label=0)
    good = dict(files="part-*", count=3)
    for content, problem in (
        ('{"class_na', "must be a whole JSON file"),
        ("[" * 9**6, "must be a whole JSON file"),
        ("[]", "must be an object"),
        (json.dumps(index), "must have the field `train`"),
        (
            json.dumps(dict(index, class_names="ab")),
            "`class_names` must be a l",
        ),
        (json.dumps(dict(index, class_names=[1])), "`class_names` must be a l"),
        (json.dumps(dict(index, first_label="0")), "`first_label` must be an"),
        (json.dumps(dict(index, train=[])), "`train` must be an object"),
        (json.dumps(dict(index, train={"count": 3})), "`train.files`"),
        (
            json.dumps(dict(index, train=dict(good, count=True))),
            "`train.count`",
        ),
        (json.dumps(dict(index, train=dict(good, count=0))), "`train.count`"),
        (json.dumps(dict(index, train=dict(good, count=1.5))), "`train.count`"),
        (json.dumps(dict(index, train=dict(good, files=""))), "`train.files`"),
    ):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(ValueError, match=f"dataset.json.*{problem}"):
            data.tfrecord(tmp_path)
    part = dict(files="part-*", count=3)
    text = json.dumps(dict(index, train=part, test=part))
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match="files.*that are there.*'part-"):
        data.tfrecord(tmp_path)
    with pytest.raises(FileExistsError, match="new or empty"):
        data.write_records(tmp_path, ["a", "b"], [], [])


@pytest.mark.parametrize(
    ("pair", "error", "message"),
    [
        (("no.jpg", 0), FileNotFoundError, "no.jpg"),
        (("no.jpg", 2), ValueError, "`train` must be integers from 0 to 1"),
    ],
)
def test_records_are_written_whole_or_not_at_all(
    pair, error, message, tmp_path
):
    with pytest.raises(error, match=message):
        data.write_records(tmp_path / "records", ["a", "b"], [pair], [])
    assert list(tmp_path.iterdir()) == []


def test_training_and_test_images_have_as_many_channels():
    labels = np.arange(4) % 2
    images = np.zeros((4, 8, 8, 3))
    with pytest.raises(ValueError, match="`test_images`.*channels.*: 1"):
        data.from_arrays(images, labels, images[..., :1], labels, "ab")


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def prepared(library, tmp_path, monkeypatch):
    """A data set that TFDS has built of a folder, found by its name."""

    from tensorflow_datasets.core import registered

    with registered.skip_registration():

        class Squares(library.core.GeneratorBasedBuilder):
            VERSION = library.core.Version("1.2.0")
            pkg_dir_path = tmp_path
            code_path = None  # no package holds this file

            def _info(self):
                return library.core.DatasetInfo(
                    builder=self,
                    features=library.features.FeaturesDict(
                        {
                            "image": library.features.Image(
                                shape=(None, None, 3), encoding_format="png"
                            ),
                            "label": library.features.ClassLabel(
                                names=["dark", "light"]
                            ),
                        }
                    ),
                    supervised_keys=("image", "label"),
                )

            def _split_generators(self, manager):
                return {"train": self._examples(30), "test": self._examples(6)}

            def _generate_examples(self):
                raise NotImplementedError

            def _examples(self, count):
                for i in range(count):
                    image = np.full((20, 20, 3), 100 * (i % 2) + i, "uint8")
                    yield i, {"image": image, "label": i % 2}

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    Squares(data_dir=tmp_path).download_and_prepare()
    builder = library.builder

    def found(name, **kwargs):
        if name.partition(":")[0] == "squares":
            return Squares(data_dir=tmp_path)
        return builder(name, data_dir=tmp_path, **kwargs)

    monkeypatch.setattr(library, "builder", found)
    return tmp_path


def take(batches, count):
    return [tuple(map(np.asarray, batch)) for batch in batches.take(count)]


def plain(recipe):
    return dataclasses.replace(
        recipe,
        random_crop=False,
        random_flip=False,
        mixup_fraction=0.0,
        cutmix_fraction=0.0,
        randaugment_layers=0,
    )


def values(source, batches):
    images = np.concatenate([images for images, *_ in batches])
    pixels = images * np.float32(source.std) + np.float32(source.mean)
    return np.rint(pixels[:, 0, 0, 0]).astype(int).tolist()


def test_tfds(prepared):
    source = data.open_source("tfds:squares:1.2.0")
    assert source.class_names == ("dark", "light")
    assert (source.train_count, source.test_count) == (30, 6)
    recipe = dataclasses.replace(plain(RECIPE), batch_size=6)
    batches = take(data.train_batches(source, recipe, seed=1), 10)
    first, second = values(source, batches[:5]), values(source, batches[5:])
    assert (
        sorted(first)
        == sorted(second)
        == sorted(100 * (i % 2) + i for i in range(30))
    )
    assert first != second
    rows = np.concatenate([rows for _, rows in batches[:5]])
    assert (rows.argmax(-1) == np.array(first) // 100).all()
    later = data.train_batches(source, recipe, seed=1, first_step=7)
    for batch, other in zip(take(later, 3), batches[7:], strict=True):
        np.testing.assert_array_equal(batch[0], other[0])
    held_out = values(source, take(data.test_batches(source, recipe), 1))
    assert sorted(held_out) == [0, 2, 4, 101, 103, 105]


def test_tfds_splits(prepared):
    source = data.open_source("tfds:squares?train=train[:10]&test=train[-4:]")
    assert (source.train_count, source.test_count) == (10, 4)
    with pytest.raises(ValueError, match="that the data set has.*'valid'"):
        data.open_source("tfds:squares?test=valid")
    with pytest.raises(ValueError, match=r"\['valid'\] in 'valid=train'"):
        data.open_source("tfds:squares?valid=train")


def test_tfds_is_prepared_if_asked(library, monkeypatch, tmp_path):
    """Nothing is downloaded: the generator stands for what would be."""
    made = []

    def download_and_prepare(self):
        made.append(self.name)
        raise RuntimeError("no network")

    core = library.core.DatasetBuilder
    monkeypatch.setattr(core, "download_and_prepare", download_and_prepare)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="mnist could not be .*no network"):
        data.open_source("tfds:mnist", download=True)
    assert made == ["mnist"]
    with pytest.raises(ValueError, match="`download` must be for tfds:NAME"):
        data.open_source("digits", download=True)


def test_tfds_as_its_mock(library):
    policy = library.testing.MockPolicy.USE_CODE
    with library.testing.mock_data(num_examples=6, policy=policy):
        source = data.open_source("tfds:mnist", download=True)
        assert (source.train_count, source.test_count) == (6, 6)
        assert (source.channels, len(source.class_names)) == (1, 10)
        recipe = dataclasses.replace(plain(RECIPE), batch_size=4)
        for images, rows in take(data.train_batches(source, recipe), 3):
            assert images.shape == (4, 32, 32, 1)
            np.testing.assert_array_equal(rows.sum(-1), 1)
        assert len(take(data.test_batches(source, recipe), 3)) == 2


def test_tfds_bad_names(prepared):
    with pytest.raises(ValueError, match="Did you mean 'mnist'.*tfds:mnits"):
        data.open_source("tfds:mnits")
    with pytest.raises(ValueError, match="`data` must be prepared.*tfds:mnist"):
        data.open_source("tfds:mnist")
    with pytest.raises(ValueError, match="tfds:mnist:0.0.1: "):
        data.open_source("tfds:mnist:0.0.1")


@pytest.fixture
def imagenet(library, tmp_path):
    """A stand-in for ImageNet: its own metadata, images of noise."""
    builder = library.builder("imagenet2012", data_dir=tmp_path, try_gcs=False)
    splits = [
        library.core.SplitInfo(
            name=name,
            shard_lengths=[count // 4, count - count // 4],
            num_bytes=1,
            filename_template=library.core.ShardedFileTemplate(
                dataset_name="imagenet2012",
                data_dir=builder.data_path,
                split=name,
                filetype_suffix="tfrecord",
            ),
        )
        for name, count in (("train", 1281167), ("validation", 50000))
    ]
    builder.info.set_splits(library.core.SplitDict(splits))
    builder.data_path.mkdir(parents=True)
    builder.info.write_to_directory(builder.data_path)
    with library.testing.mock_data(num_examples=8, data_dir=str(tmp_path)):
        yield


def test_papers_recipe_on_imagenet(imagenet):
    source = data.open_source("tfds:imagenet2012")
    assert len(source.class_names) == 1000
    assert (source.train_count, source.test_count) == (1281167, 50000)
    recipe = recipes.get("nfnet_f0").scaled(batch_size=4, train_size=32)
    batches = take(data.train_batches(source, recipe), 2)
    for images, rows in batches:
        assert images.shape == (4, 32, 32, 3)
        np.testing.assert_allclose(rows.sum(-1), 1.0, rtol=1e-6)
    ((images, _, _),) = take(data.test_batches(source, recipe), 1)
    assert images.shape == (4, 43, 43, 3)
    variant = least_variant()
    model = keras_nfnets.NFNet(variant, **recipe.model_args())
    model.compile(**recipe.compile_args(2))
    history = model.fit(
        data.train_batches(source, recipe),
        steps_per_epoch=2,
        shuffle=False,
        verbose=0,
    ).history
    assert int(model.optimizer.iterations) == 2
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("name", PAPERS_SPLITS)
def test_papers_splits(imagenet, name):
    source = data.open_source(f"tfds:imagenet2012?train={name}")
    count = dict(
        papers_train=1271167,
        papers_valid=10000,
        papers_train_and_valid=1281167,
        papers_test=50000,
    )
    assert source.train_count == count[name]
