"""Every path finds the same pixels in a file, or refuses it."""

import dataclasses
import io
import os
import struct
import zlib

import keras
import numpy as np
import pytest
from helpers import BACKEND

from keras_nfnets import data, recipes
from keras_nfnets.cli import commands, using
from keras_nfnets.data.decoding import decode_test, decode_train
from keras_nfnets.runs.folder import Run
from keras_nfnets.runs.settings import from_options

tf = pytest.importorskip("tensorflow")
image_module = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow reads on every backend"
)
SIDE = 32
PLAIN = dataclasses.replace(
    recipes.get("nfnet_f0").scaled(4, 2, SIDE),
    test_size=SIDE,
    test_margin=0,
    random_crop=False,
    random_flip=False,
)
RANDOM = np.random.default_rng(0)
# Smooth, as JPEG does not keep noise.
DOWN, ACROSS = np.mgrid[:SIDE, :SIDE]
COLOURS = np.stack([6 * DOWN, 7 * ACROSS, 250 - 3 * DOWN - 3 * ACROSS], -1)
COLOURS = COLOURS.astype("uint8")
GREY = COLOURS[..., 1]


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", checksum)
    )


# Of interlaced files: the rows and columns of each pass.
PASSES = [
    (slice(*rows), slice(*columns))
    for rows, columns in (
        ((0, None, 8), (0, None, 8)),
        ((0, None, 8), (4, None, 8)),
        ((4, None, 8), (0, None, 4)),
        ((0, None, 4), (2, None, 4)),
        ((2, None, 4), (0, None, 2)),
        ((0, None, 2), (1, None, 2)),
        ((1, None, 2), (0, None, 1)),
    )
]


def png(samples, kind, depth=8, extra=b"", interlaced=False):
    """A PNG of whole bytes per sample, or of packed bits."""
    rows = samples.reshape(SIDE, -1)
    if depth == 16:
        rows = rows.astype(">u2").view("u1").reshape(SIDE, -1)
    elif depth < 8:
        shifts = np.arange(depth)[::-1]
        bits = (rows[..., None] >> shifts) & 1
        rows = np.packbits(bits.reshape(SIDE, -1).astype("uint8"), axis=1)
    if interlaced:
        rows = [row for a, b in PASSES for row in samples[a][:, b]]
    content = b"".join(b"\0" + row.astype("uint8").tobytes() for row in rows)
    header = struct.pack(
        ">IIBBBBB", SIDE, SIDE, depth, kind, 0, 0, int(interlaced)
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(content))
        + chunk(b"IEND", b"")
    )


def saved(pixels, kind, mode=None, **options):
    image = image_module.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def rotated():
    exif = image_module.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    return saved(COLOURS, "JPEG", quality=95, exif=exif)


def animated():
    frames = [image_module.fromarray(COLOURS[::-1])]
    options = dict(save_all=True, append_images=frames)
    return saved(COLOURS, "PNG", **options)


def grey(depth):
    """A file of that many bits a sample, and the bytes that it shows."""
    samples = RANDOM.integers(0, 2**depth, (SIDE, SIDE))
    shown = samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)
    return png(samples, 0, depth), shown


WIDE = RANDOM.integers(0, 2**16, (SIDE, SIDE, 4))
BYTES = WIDE >> 8
INDICES = RANDOM.integers(0, 16, (SIDE, SIDE))
PALETTE = RANDOM.integers(0, 256, (16, 3)).astype("uint8")
PLTE = chunk(b"PLTE", PALETTE.tobytes())
# Content, what it shows, and by how much a decoder of JPEGs may differ: by one
# step of quantization at this quality, and twice that between colour spaces.
KINDS = {
    **{f"grey {depth}": (*grey(depth), 0) for depth in (1, 2, 4, 8, 16)},
    "grey alpha": (png(BYTES[..., :2], 4), BYTES[..., 0], 0),
    "grey alpha 16": (png(WIDE[..., :2], 4, 16), BYTES[..., 0], 0),
    "rgb": (png(BYTES[..., :3], 2), BYTES[..., :3], 0),
    "rgb 16": (png(WIDE[..., :3], 2, 16), BYTES[..., :3], 0),
    "rgba": (png(BYTES, 6), BYTES[..., :3], 0),
    "rgba 16": (png(WIDE, 6, 16), BYTES[..., :3], 0),
    "palette": (png(INDICES, 3, 8, PLTE), PALETTE[INDICES], 0),
    "palette of 4 bits": (png(INDICES, 3, 4, PLTE), PALETTE[INDICES], 0),
    "palette with transparency": (
        png(INDICES, 3, 8, PLTE + chunk(b"tRNS", bytes(range(16)))),
        PALETTE[INDICES],
        0,
    ),
    "gamma is passed over": (
        png(BYTES[..., :3], 2, 8, chunk(b"gAMA", struct.pack(">I", 90000))),
        BYTES[..., :3],
        0,
    ),
    "interlaced": (
        png(BYTES[..., :3], 2, interlaced=True),
        BYTES[..., :3],
        0,
    ),
    "animated": (animated(), COLOURS, 0),
    "jpeg": (saved(COLOURS, "JPEG", quality=95), COLOURS, 12),
    "jpeg grey": (saved(GREY, "JPEG", quality=95), GREY, 6),
    "jpeg progressive": (
        saved(COLOURS, "JPEG", quality=95, progressive=True),
        COLOURS,
        12,
    ),
    "jpeg cmyk": (saved(COLOURS, "JPEG", "CMYK", quality=95), COLOURS, 12),
    "jpeg rotated": (rotated(), COLOURS, 12),
    "jpeg and more": (
        saved(COLOURS, "JPEG", quality=95) + b"more",
        COLOURS,
        12,
    ),
}
REFUSED = {
    "gif": saved(COLOURS, "GIF"),
    "webp": saved(COLOURS, "WEBP"),
    "bmp": saved(COLOURS, "BMP"),
    "nothing": b"",
    "text": b"not an image",
    "half a png": KINDS["rgb"][0][:400],
    "half a jpeg": KINDS["jpeg"][0][:-90],
    "jpeg without its end": KINDS["jpeg"][0][:-2],
    "png header alone": KINDS["rgb"][0][:20],
}


def shown_in(pixels, channels):
    """The pixels of an image as grey or as colours, by Pillow's rule."""
    pixels = np.asarray(pixels)
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, -1)
    if channels == 3:
        return pixels
    weighted = pixels.astype(int) @ [19595, 38470, 7471]
    return ((weighted + 2**15) >> 16)[..., None]


def source(channels, **fields):
    images = np.zeros((2, 8, 8, channels))
    made = data.from_arrays(images, [0, 1], images, [0, 1], "ab")
    return dataclasses.replace(made, **fields)


def in_graph(content, decode):
    """What a pipeline makes of a file's content."""
    dataset = tf.data.Dataset.from_tensors(content).map(decode)
    (image,) = dataset
    return image.numpy()


def all_paths(content, channels, path, recipe=PLAIN):
    path.write_bytes(content)
    own = source(channels)
    return {
        "predict": lambda: data.read_image(path, None, channels),
        "train": lambda: in_graph(
            content, lambda raw: decode_train(raw, own, recipe, [0, 1])
        ),
        "evaluate": lambda: in_graph(
            content, lambda raw: decode_test(raw, own, recipe)
        ),
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_all_paths_find_the_same_pixels(name, channels, tmp_path):
    content, pixels, tolerance = KINDS[name]
    paths = all_paths(content, channels, tmp_path / "any.name")
    expected = shown_in(pixels, channels)
    found = {way: read() for way, read in paths.items()}
    np.testing.assert_allclose(found["predict"], expected, atol=tolerance)
    # Resized to their own size, bytes stay what they are in float32.
    for way in ("train", "evaluate"):
        np.testing.assert_allclose(found[way], found["predict"], atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_a_random_crop_has_the_pixels_of_the_whole(name, channels):
    content, _, _ = KINDS[name]
    recipe = dataclasses.replace(PLAIN, random_crop=True)
    own = source(channels)
    whole = tf.cast(data.pixels.decode(content, channels, 10**6), tf.float32)
    for seed in range(1, 2):
        crop, other = (
            in_graph(x, lambda x, s=seed: decode_train(x, own, recipe, [0, s]))
            for x in (content, whole)
        )
        # A crop's last column lacks a quarter of the colour beside it, which
        # is 14 levels away at most, and blue takes 1.772 of that.
        bound = 7 if "jpeg" in name else 1e-4
        np.testing.assert_allclose(crop, other, atol=bound)


@pytest.fixture
def run(tmp_path):
    """A run whose model answers by the mean colours of an image."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(x))
    made = Run(tmp_path / "run")
    made.claim()
    settings = dataclasses.replace(from_options(), recipe=PLAIN)
    levels = dict(mean=(90.0, 100.0, 110.0), std=(70.0, 80.0, 90.0))
    made.write_config(settings, source(3, **levels))
    model.save(made.model)
    return made


@pytest.mark.parametrize("name", ["grey 16", "rgb 16", "interlaced"])
def test_the_commands_find_the_same_pixels(
    name, run, tmp_path, capsys, monkeypatch
):
    content, pixels, _ = KINDS[name]
    pixels = shown_in(pixels, 3).astype("float32")
    for label in "ab":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(3):
            path = tmp_path / "photos" / label / f"{index}.png"
            path.write_bytes(content)

    config, model = run.load()
    (row,) = model.predict_on_batch(
        data.normalize(pixels[None], config["mean"], config["std"])
    )
    using.predict([run.path, path])
    label, probability = capsys.readouterr().out.split("\t")[1:]
    assert label == "ab"[row.argmax()]
    # Four digits are printed.
    assert float(probability) == pytest.approx(row.max(), abs=1e-4)

    commands.export(run.path)
    served = tf.saved_model.load(str(run.saved_model))
    (answer,) = served.serve(data.read_image(path, None, 3)[None])
    np.testing.assert_allclose(answer, row, atol=1e-5)

    shown = []
    monkeypatch.setattr(
        commands,
        "draw_grid",
        lambda batches, own, path: shown.append((next(iter(batches)), own)),
    )
    monkeypatch.setattr(
        commands,
        "from_options",
        lambda **_: dataclasses.replace(from_options(), recipe=PLAIN),
    )
    commands.data(f"folder:{tmp_path / 'photos'}", "x.png", "", test=True)
    ((images, *_), own) = shown[0]
    first = images.numpy()[0] * own.std + own.mean
    np.testing.assert_allclose(first, pixels, atol=1e-3)


@pytest.mark.parametrize("name", REFUSED)
def test_all_paths_refuse(name, tmp_path):
    path = tmp_path / "named.jpg"
    cropping = dataclasses.replace(PLAIN, random_crop=True)
    for recipe in (PLAIN, cropping):
        paths = all_paths(REFUSED[name], 3, path, recipe)
        with pytest.raises(ValueError, match="named.jpg: "):
            paths.pop("predict")()
        for read in paths.values():
            with pytest.raises(tf.errors.InvalidArgumentError):
                read()


@pytest.mark.parametrize("name", ["rgb", "jpeg"])
def test_the_budget_of_pixels_holds_in_all_paths(name, tmp_path):
    content, path = KINDS[name][0], tmp_path / "a"
    path.write_bytes(content)
    for size, allowed in ((SIDE**2, True), (SIDE**2 - 1, False)):
        own = source(3, max_pixels=size)
        ways = [
            lambda size=size: data.read_image(path, None, 3, size),
            lambda own=own: in_graph(
                content, lambda raw: decode_test(raw, own, PLAIN)
            ),
            *(
                lambda own=own, crop=crop: in_graph(
                    content,
                    lambda raw: decode_train(
                        raw,
                        own,
                        dataclasses.replace(PLAIN, random_crop=crop),
                        [0, 1],
                    ),
                )
                for crop in (False, True)
            ),
        ]
        for read in ways:
            if allowed:
                read()
                continue
            errors = (ValueError, tf.errors.InvalidArgumentError)
            with pytest.raises(errors, match="`max_pixels`, 1023.*1024"):
                read()


def test_a_wide_image_is_refused_from_its_header(tmp_path):
    path = tmp_path / "wide.png"
    content = bytearray(KINDS["grey 1"][0])
    content[16:24] = struct.pack(">II", 13300, 13300)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="89478485. Received: 176890000"):
        data.read_image(path, None, 3)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match="not a file but a folder, a pipe"):
            data.read_image(path, None, 3)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "photos" / "a" / "pipe.png")
    with pytest.raises(ValueError, match="must be a file.*pipe.png"):
        data.folder(tmp_path / "photos")


def test_names_that_are_not_utf_8(tmp_path):
    for name in ("a", "b"):
        folder = os.fsencode(tmp_path / name)
        os.mkdir(folder)
        for index in range(5):
            with open(folder + b"/\xff%d.png" % index, "wb") as file:
                file.write(KINDS["rgb"][0])
    found = data.folder(tmp_path)
    batches = list(data.test_batches(found, PLAIN))
    weights = np.concatenate([weights for *_, weights in batches])
    assert (weights > 0).sum() == 2 and not found.skipped
