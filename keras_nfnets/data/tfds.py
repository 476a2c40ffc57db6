"""Opens data sets that TensorFlow Datasets has prepared."""

from urllib.parse import parse_qsl

from keras_nfnets.checks import near_matches
from keras_nfnets.data.order import epoch_seed, shuffled_records
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import PHOTO_MEAN, PHOTO_STD, Source, Streamed
from keras_nfnets.extras import require

# The names of the papers' code for parts of ImageNet.
PAPERS_SPLITS = {
    "papers_train": "train[10000:]",
    "papers_valid": "train[:10000]",
    "papers_train_and_valid": "train",
    "papers_test": "validation",
}


def tfds(name: str, download: bool = False) -> Source:
    """Opens a data set that TensorFlow Datasets has prepared, or prepares it.

    Its parts are `train`, and `validation` or `test`, whichever exists, or else
    the last fifth of `train`. On ImageNet these are the parts with which the
    papers train and report results. Other parts are given in TFDS's notation
    or, on ImageNet, by a name in `PAPERS_SPLITS`.

    Args:
        name: String, `"NAME"` or `"NAME:VERSION"`. Splits may follow:
            `"NAME?train=train[:90%]&test=train[90%:]"`.
        download: Boolean, whether a data set that is not prepared on this
            machine is downloaded and prepared. Defaults to `False`.

    Returns:
        A `Source`.

    Raises:
        ValueError: If there is no such data set, it is not prepared on this
            machine (or, with `download`, cannot be downloaded), it is not one
            of labelled images, or a split is unknown.
        ImportError: If tensorflow-datasets is not installed.

    Example:

    >>> name = "tfds:imagenet2012"
    >>> source = keras_nfnets.data.open_source(name)  # doctest: +SKIP
    """
    library = require("tensorflow_datasets", extra="tfds")
    name, _, query = name.partition("?")
    builder = _builder(library, name)
    if download:
        _prepare(builder)
    image, label = _keys(builder)
    splits = _splits(builder, query, _is_mocked(builder, name))
    train, test = (
        _part(library, builder, splits[part], image, label)
        for part in ("train", "test")
    )
    channels = builder.info.features[image].shape[-1] or 3
    return Source(
        train,
        test,
        tuple(builder.info.features[label].names),
        PHOTO_MEAN if channels == 3 else _grey(PHOTO_MEAN),
        PHOTO_STD if channels == 3 else _grey(PHOTO_STD),
    )


def _grey(values):
    return (sum(values) / len(values),)


def _builder(library, name):
    """Returns the builder of a data set, by its name."""
    try:
        builder = library.builder(name, try_gcs=False)
    except library.core.registered.DatasetNotFoundError:
        known = library.list_builders(with_community_datasets=False)
        raise ValueError(
            "`data` must name a data set of TensorFlow Datasets. "
            f"{near_matches(name.partition(':')[0], known)}"
            f"Received: tfds:{name}"
        ) from None
    except AssertionError as error:  # There is no such version.
        raise ValueError(f"tfds:{name}: {error}") from None
    return builder


def _prepare(builder):
    """Downloads and prepares a data set, unless it is there."""
    try:
        builder.download_and_prepare()
    # TFDS raises errors of many kinds: of the network, of a changed file, of a
    # file that has to be fetched by hand.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(
            f"tfds:{builder.name} could not be downloaded and prepared: {error}"
        ) from error


def _is_mocked(builder, name):
    """Tells whether `tfds.testing.mock_data` stands for a data set.

    The data set is then not prepared, and its splits are unknown.

    Raises:
        ValueError: If it is neither mocked nor prepared.
    """
    if builder.info.splits:
        return False
    try:
        builder.as_dataset(split="train")
    except AssertionError:
        raise ValueError(
            "`data` must be prepared on this machine: add --download, or use "
            f"`tfds build {name}` or $TFDS_DATA_DIR. Received: tfds:{name}, of "
            f"which {builder.data_path} has nothing"
        ) from None
    return True


def _keys(builder):
    """Returns the names of image and label among the features."""
    keys = builder.info.supervised_keys
    features = builder.info.features
    if not keys or len(keys) != 2 or not hasattr(features[keys[1]], "names"):
        raise ValueError(
            "`data` must be images with one class each. "
            f"Received: tfds:{builder.name} with {list(features)}"
        )
    return keys


def _splits(builder, query, is_mocked):
    """Returns the splits that a name asks for, or the usual ones."""
    given = dict(parse_qsl(query))
    unknown = set(given) - {"train", "test"}
    if unknown:
        raise ValueError(
            "Splits must be given as ?train=...&test=... "
            f"Received: {sorted(unknown)} in {query!r}"
        )
    known = ("train", "test") if is_mocked else builder.info.splits
    test = next((n for n in ("validation", "test") if n in known), None)
    default = (
        dict(train="train", test=test)
        if test
        else dict(train="train[:80%]", test="train[80%:]")
    )
    splits = default | given
    if builder.name == "imagenet2012":
        splits = {p: PAPERS_SPLITS.get(s, s) for p, s in splits.items()}
    return splits


def _part(library, builder, split, image, label):
    """Returns a split as a part of a source."""
    try:
        count, shards = _lengths(builder, split)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"A split must be one that the data set has. Received: {split!r}, "
            f"and {error}"
        ) from None

    def records(epoch, seed, host, hosts):
        """Returns an epoch's pairs of an encoded image and a label."""
        tf = tensorflow()
        shuffle = epoch is not None
        seed = epoch_seed(seed, epoch) if shuffle else None
        context = tf.distribute.InputContext(hosts, host)
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=shuffle,
            decoders={image: library.decode.SkipDecoding()},
            read_config=library.ReadConfig(
                shuffle_seed=seed,
                shuffle_reshuffle_each_iteration=False,
                input_context=context if hosts > 1 else None,
                try_autocache=False,
                skip_prefetch=True,
            ),
        )
        dataset = dataset.map(lambda record: (record[image], record[label]))
        return shuffled_records(dataset, seed)

    def read(record):
        return record

    return Streamed(count, shards, records, read)


def _lengths(builder, split):
    """Returns the number of examples of a split, and the number of its files.

    A mocked data set has one number of examples for all splits.
    """
    if not builder.info.splits:
        return int(builder.as_dataset(split=split).cardinality()), 1
    info = builder.info.splits[split]
    return info.num_examples, info.num_shards
