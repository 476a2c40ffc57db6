"""How many JPEGs a second and core the input pipeline makes ready to train on.

.venv/bin/python benchmarks/input_pipeline.py --out benchmarks/results/INPUT.md
"""

import contextlib
import dataclasses
import functools
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import contest
import tables
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images
from workers.pace import batches_per_second

from keras_nfnets.data import folder, train_batches
from keras_nfnets.data.byte_images import opencv
from keras_nfnets.data.decoding import CROP_ASPECT_RATIO
from keras_nfnets.recipes import RECIPES

IMAGES, WIDTH, HEIGHT, QUALITY = 200, 500, 375, 92
BATCH, WARM_UP = 32, 4  # images, batches
SECONDS, PAUSE = 1.0, 0.5  # that a turn takes at least, and after it
# Milliseconds of a training step of 32 images on a TPUv3 core, published in
# arXiv 2102.06171, Table 3. None was published for a v5e.
PUBLISHED_STEPS = {"nfnet_f0": 73.3, "nfnet_f5": 1398.5}
LIMIT = "plain tf.data: decode, crop, flip, resize"
RECIPE, LARGE = (
    dataclasses.replace(RECIPES[name], batch_size=BATCH)
    for name in PUBLISHED_STEPS
)
PLAIN = dataclasses.replace(
    RECIPE, randaugment_layers=0, mixup_fraction=0.0, cutmix_fraction=0.0
)
BATCHED = "keras_nfnets with nfnet_f0's recipe, partners of the batch"


# timm's policies of four drawn operations. Each one is applied with a
# probability of one half, as it does by default, or always, as the papers do.
TIMMS = {
    "timm's loader without augmentation": None,
    "timm's loader with RandAugment": "rand-m5-n4-inc1",
    "timm's loader with RandAugment, every operation": "rand-m5-n4-p1.0-inc1",
}
# What ours with the same work are compared with.
EVERY = "timm's loader with RandAugment, every operation"


def main():
    options = tables.parser(__doc__, rounds=21).parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as stack:
        write_images(Path(root))
        contenders = {
            name: functools.partial(speed, dataset)
            for name, dataset in pipelines(Path(root)).items()
        }
        contenders |= timms(Path(root), options, stack)
        pairs = measure(contenders, options.rounds)
    tables.publish(report(pairs, options.rounds, cores), options.out)


def measure(contenders, rounds):
    """Returns pairs of batches a second, a contender's and the limit's.

    Whoever has a turn has it beside one of the limit, before or after it by
    chance: the machine's speed changes within seconds.
    """
    limit = contenders.pop(LIMIT)
    pairs = {name: [] for name in contenders}
    coin = random.Random(0)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        for name, contender in contenders.items():
            step = coin.choice((1, -1))
            in_turn = [turn() for turn in (contender, limit)[::step]]
            pairs[name].append(in_turn[::step])
    return pairs


def timms(root, options, stack):
    """Returns timm's loaders by name, each in a process of its own."""
    found = {}
    for name, policy in TIMMS.items():
        contender = contest.Contender(
            name, ".venv-timm", "worker_timm_loader.py"
        )
        job = [str(root / "train"), "--size", str(RECIPE.train_size)]
        job += ["--augment", policy] if policy else []
        worker = contest.Worker(contender, job, options.python)
        stack.callback(worker.stop)
        found[name] = functools.partial(pausing, worker)
    return found


def pausing(worker):
    """Returns what a worker's turn says, after a pause."""
    batches = worker.run(SECONDS)
    time.sleep(PAUSE)
    return batches


def write_images(root):
    """Writes parts of scikit-learn's two photographs, two classes."""
    for name, photo in zip("ab", load_sample_images().images, strict=True):
        for part in ("train", "val"):
            (root / part / name).mkdir(parents=True)
        picture = Image.fromarray(photo)
        for i in range(IMAGES // 2):
            box = (i, i, picture.width - i, picture.height - i)
            image = picture.crop(box).resize((WIDTH, HEIGHT))
            image.save(root / "train" / name / f"{i:03}.jpg", quality=QUALITY)
        image.save(root / "val" / name / "0.jpg", quality=QUALITY)


def pipelines(root):
    """Returns the contenders' datasets by name."""
    source = folder(root)
    contenders = {
        LIMIT: limit(root),
        "keras_nfnets without augmentation": train_batches(source, PLAIN),
        "keras_nfnets with nfnet_f0's recipe": train_batches(source, RECIPE),
        BATCHED: train_batches(source, in_batch(RECIPE)),
        "keras_nfnets with nfnet_f5's recipe": train_batches(source, LARGE),
        "keras_nfnets with nfnet_f5's recipe, partners of the batch": (
            train_batches(source, in_batch(LARGE))
        ),
    }
    try:
        from keras_cv.layers import RandAugment
    except ImportError:
        return contenders
    augment = RandAugment(
        value_range=(0, 255),
        augmentations_per_image=RECIPE.randaugment_layers,
        magnitude=RECIPE.randaugment_magnitude / 10,
    )
    contenders["keras_nfnets with KerasCV's RandAugment alone"] = train_batches(
        source, PLAIN, augment=augment
    )
    return contenders


def in_batch(recipe):
    """Returns a recipe whose partners need no images of their own."""
    return dataclasses.replace(recipe, mix_partners="batch")


def limit(root):
    """Returns the least that any such pipeline has to do."""
    size = RECIPE.train_size
    files = tf.data.Dataset.list_files(str(root / "train/*/*.jpg"), seed=0)

    def read(file):
        content = tf.io.read_file(file)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(content),
            tf.zeros((1, 0, 4)),
            min_object_covered=0.1,
            aspect_ratio_range=CROP_ASPECT_RATIO,
            area_range=(RECIPE.crop_area, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        box = tf.concat([begin[:2], extent[:2]], 0)
        image = tf.io.decode_and_crop_jpeg(content, box, channels=3)
        image = tf.image.random_flip_left_right(image)
        return tf.image.resize(image, (size, size), "bicubic")

    images = files.repeat().shuffle(IMAGES, 0).map(read, tf.data.AUTOTUNE)
    return images.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def speed(dataset):
    """Returns how many batches a second a dataset gives, on its own.

    What it reads ahead while others have their turn would count as its speed,
    so every turn begins and ends one, with a pause for what it had begun.
    """
    # The iterator ends with the call.
    rate = batches_per_second(iter(dataset), SECONDS, WARM_UP)
    time.sleep(PAUSE)
    return rate


def report(pairs, rounds, cores):
    """Returns the lines of the report."""
    limits = [limit for own in pairs.values() for _, limit in own]
    rows = [row(LIMIT, [(rate, rate) for rate in limits], cores)]
    rows += [row(name, own, cores) for name, own in pairs.items()]
    rates = {
        name: statistics.median(own / limit for own, limit in each)
        for name, each in pairs.items()
    }
    columns = [
        "pipeline",
        "images per second and core",
        "of the limit",
        "cores for one chip",
    ]
    return [
        "# Images made ready to train on",
        "",
        f"{IMAGES} JPEGs of {WIDTH} x {HEIGHT} pixels, quality {QUALITY}, "
        "parts of scikit-learn's two photographs, to batches of "
        f"{BATCH} at {RECIPE.train_size} px; nfnet_f5's at {LARGE.train_size}.",
        *tables.where_and_when(rounds),
        f"TensorFlow {tf.__version__}, "
        + (f"OpenCV {cv2.__version__}." if (cv2 := opencv()) else "no OpenCV."),
        "",
        *tables.table(columns, rows),
        "",
        "Of what timm's loader makes with every operation applied, ours with "
        f"partners of the batch makes {rates[BATCHED] / rates[EVERY]:.2f}: "
        "the quotient of the medians above. timm's does not mix images.",
        "",
        "The last column is computed, not measured: how many such cores feed "
        "one chip that takes a step of 32 images in the time that the papers "
        "published for a TPUv3 core "
        f"({', '.join(f'{n} {ms} ms' for n, ms in PUBLISHED_STEPS.items())}); "
        "none was published for a v5e.",
    ]


def row(name, pairs, cores):
    """Returns a contender's cells."""
    model = "nfnet_f5" if "nfnet_f5" in name else "nfnet_f0"
    own, limit = zip(*pairs, strict=True)
    rate = BATCH * statistics.median(own) / cores
    needed = BATCH / (PUBLISHED_STEPS[model] / 1000)
    ratio = tables.ratio([[value] for value in own], [[x] for x in limit])
    return [name, f"{rate:.0f}", ratio, f"{needed / rate:.1f}"]


if __name__ == "__main__":
    main()
