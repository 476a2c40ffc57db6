"""Opens classifiers: of runs, presets, variants with weights, exported files.

`of_path`, `of_run`, `of_preset` and `of_variant` return a `Network`: a function
from images to probabilities, and the description of its inputs and classes.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import MAX_PIXELS
from keras_nfnets.data import Crop, normalize
from keras_nfnets.export.description import Description
from keras_nfnets.export.formats import FORMATS
from keras_nfnets.image_size import Size, checked_size
from keras_nfnets.models.imagenet import class_names
from keras_nfnets.models.nfnet import NFNet
from keras_nfnets.models.preset_model import PresetModel
from keras_nfnets.models.presets import from_preset, is_preset
from keras_nfnets.options import EXPORTS, RUNTIMES
from keras_nfnets.runs.folder import Run
from keras_nfnets.variants.plan import check_smallest, resolve_variant
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights.published import fetch


@dataclasses.dataclass(frozen=True)
class Network:
    """Holds a classifier that was opened, whatever runs it.

    Args:
        run: Function from a float32 array `(batch, height, width, channels)` in
            [0, 255] to an array `(batch, classes)` of probabilities. It
            normalizes the images itself.
        description: `Description`, with class names, crop and channels.
        model: The Keras model. Defaults to `None`, for an exported file.
        mean: Sequence of floats, one per channel, that training subtracted
            from pixels. Defaults to none.
        std: Sequence of floats, one per channel, by which training divided.
            Defaults to none.
    """

    run: Callable[[np.ndarray], np.ndarray]
    description: Description
    model: keras.Model | None = None
    mean: Sequence[float] = ()
    std: Sequence[float] = ()


def of_path(path: FilePath, runtime: str | None = None) -> Network:
    """Opens the folder of a run, a preset, or an exported file or folder.

    Args:
        path: String or path. The `model.keras` of a run stands for its folder.
            `"hf://..."` and a folder with `model.safetensors` are presets.
        runtime: String, a key of `RUNTIMES`. Defaults to `None`: Keras for a
            run's folder, else by suffix.

    Returns:
        A `Network`.

    Raises:
        FileNotFoundError: If there is nothing at the path, or the run was not
            exported for the runtime.
        ImportError: If the runtime is not installed; the extra is named.
        ValueError: If it cannot be used, or not in this runtime.

    Example:

    >>> network = of_path("runs/digits", runtime="onnx")
    >>> network.run(np.zeros((1, 32, 32, 1), "float32")).shape
    (1, 10)
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise ValueError(
            f"`runtime` must be one of {sorted(RUNTIMES)}. "
            f"Received: runtime={runtime!r}"
        )
    if is_preset(path):
        return of_preset(from_preset(path), runtime)
    path = Path(path)
    if path.name == "model.keras" and (path.parent / "config.json").exists():
        path = path.parent
    if path.is_dir() and not (path / "saved_model.pb").exists():
        if runtime in (None, "keras"):
            return of_run(path)
        exported = path / EXPORTS[RUNTIMES[runtime]]
        if not exported.exists():
            raise FileNotFoundError(
                f"There is no {str(exported)!r}; `keras-nfnets export {path} "
                f"--format {RUNTIMES[runtime]}` writes it"
            )
        path = exported
    return _of_file(path, runtime)


def _of_file(path, runtime):
    """Returns the network of an exported file, by its suffix."""
    if not path.exists():
        raise FileNotFoundError(
            f"`model` must be a path that is there. Received: {str(path)!r}"
        )
    suffix = "" if path.is_dir() else path.suffix
    by_suffix = {row.suffix: name for name, row in FORMATS.items()}
    kind = by_suffix.get(suffix)
    if path.is_file() and not suffix or kind is None:
        raise ValueError(
            "`model` must be the folder of a run or of a SavedModel, or end in "
            f"one of {sorted(filter(None, by_suffix))}. "
            f"Received: {str(path)!r}"
        )
    wanted = RUNTIMES[runtime] if runtime else kind
    if wanted != kind and (kind, wanted) != ("onnx", "openvino"):
        raise ValueError(
            f"`runtime` must be one that runs {str(path)!r}. "
            f"Received: runtime={runtime!r}"
        )
    description = Description.read(path)
    with _named_errors(path):
        run = FORMATS[wanted].load(path)
    return Network(_checked(run, path, description), description)


def _checked(run, path, description):
    """Returns a function of images that raises errors with the file's name."""
    classes = len(description.class_names)

    def run_images(images):
        with _named_errors(path):
            rows = run([images])[0]
        if np.shape(rows) != (len(images), classes):
            raise ValueError(
                f"{str(path)!r} must return a number for each of the {classes} "
                f"classes in {str(Description.beside(path))!r}. "
                f"Received: outputs of the shape {np.shape(rows)}"
            )
        return rows

    return run_images


@contextlib.contextmanager
def _named_errors(path):
    """Raises what a runtime says of a file as a ValueError with its name."""
    try:
        yield
    except ImportError:
        raise
    # Every runtime raises errors of its own classes.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"`model` must be a file as `keras-nfnets export` writes it, with "
            f"its description. Received: {str(path)!r}, and {reason[0]}"
        ) from error


def of_run(path: FilePath) -> Network:
    """Opens the best model of a run.

    Args:
        path: String or path of the run's folder.

    Returns:
        A `Network`.

    Raises:
        FileNotFoundError: If it has no model.
        ValueError: If it is not a run's folder, or damaged.
    """
    config, model = Run(path).load()
    settings, mean = config["settings"], config["mean"]
    description = Description(
        config["class_names"],
        Crop.of_recipe(settings.recipe),
        len(mean),
        settings.max_pixels,
    )
    return _of_model(model, description, mean, config["std"])


def of_preset(model: PresetModel, runtime: str | None = None) -> Network:
    """Opens the model of a preset.

    Args:
        model: `PresetModel`, with a `variant` and a classifier.
        runtime: String, `"keras"`, or `None`, the same. Defaults to `None`.

    Returns:
        A `Network`.

    Raises:
        ValueError: If the model has no classifier or no `variant`, or for
            another runtime.
    """
    if runtime not in (None, "keras"):
        raise ValueError(
            f"`runtime` must be 'keras' for a preset. Received: {runtime!r}"
        )
    row, classes = model.variant, model.get_layer("head").classes
    if row is None or classes is None:
        raise ValueError(
            "`model` must be a preset with a classifier. Received: a model "
            f"with variant={row!r} and {classes or 'no'} classes"
        )
    names = model.class_names or class_names(classes)
    channels = len(row.pixel_mean)
    description = Description(names, Crop.of_variant(row), channels, MAX_PIXELS)
    return _of_model(model, description, row.pixel_mean, row.pixel_std)


def of_variant(
    variant: str, weights: FilePath, size: Size | None = None
) -> Network:
    """Opens a variant with weights from a file.

    Args:
        variant: String, a key of `VARIANTS`.
        weights: String or path, as for `NFNet`.
        size: Integer, side of the crop in pixels, or a tuple `(height, width)`.
            Defaults to `None`, the variant's test size.

    Returns:
        A `Network`.

    Raises:
        ValueError: If the file is not of this variant, or has no classifier,
            or the size is below the smallest that networks take.
    """
    if size is not None:
        size = checked_size(size=size)
        check_smallest(size=size)
    if weights == "imagenet":
        weights = fetch(variant)
    classes = weight_files.classes_in(weights)
    if classes is None:
        raise ValueError(
            "`weights` must be a file with a classifier. "
            f"Received: weights={str(weights)!r}"
        )
    model = NFNet(variant, weights=weights, classes=classes)
    row, _ = resolve_variant(variant)
    crop = Crop.of_variant(row, size)
    description = Description(class_names(classes), crop, 3, MAX_PIXELS)
    return _of_model(model, description, row.pixel_mean, row.pixel_std)


def _of_model(model, description, mean, std):
    """Returns the network of a Keras model that takes normalized images."""

    def run(images):
        return np.asarray(model.predict_on_batch(normalize(images, mean, std)))

    return Network(run, description, model, mean, std)
