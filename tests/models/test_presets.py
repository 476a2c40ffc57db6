"""A preset is found by name, folder or address, and comes back as it was."""

import importlib.util
import json
import logging
import shutil
import sys
import time

import keras
import numpy as np
import pytest
from helpers import FILES, to_numpy
from hub_on_loopback import Hub

import keras_nfnets
from keras_nfnets import VARIANTS, Classifier, PresetModel, from_preset
from keras_nfnets.models import preset_config
from keras_nfnets.weights import hub as hub_files
from keras_nfnets.weights import published

ADDRESS, REPOSITORY = "hf://timm/tiny.ra2_in1k", "timm/tiny.ra2_in1k"
# What timm writes beside its test_nfnet, with two classes and other images.
CONFIG = {
    "architecture": "test_nfnet",
    "num_classes": 2,
    "num_features": 192,
    "label_names": ["n01", "n02"],
    "label_descriptions": {"n01": "tench, Tinca tinca", "n02": "goldfish"},
    "model_args": {"num_classes": 2},
    "pretrained_cfg": {
        "tag": "r160_in1k",
        "input_size": [3, 96, 96],
        "test_input_size": [3, 128, 128],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "test_crop_pct": 0.95,
        "crop_mode": "squash",
        "mean": [0.25, 0.5, 0.75],
        "std": [0.2, 0.4, 0.6],
        "num_classes": 1000,
        "first_conv": "stem.conv1",
        "classifier": "head.fc",
    },
}
IMAGES = CONFIG["pretrained_cfg"]


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    """A preset of three classes as a model, and its folder."""
    names = ["cat", "dog", "café"]
    keras.utils.set_random_seed(3)
    model = from_preset("nfnet_pico", load_weights=False, class_names=names)
    folder = tmp_path_factory.mktemp("presets") / "pico"
    model.save_to_preset(folder)
    return model, folder


@pytest.fixture(scope="module")
def timms(tmp_path_factory):
    """timm's test network with two classes, and the content of its files."""
    folder = tmp_path_factory.mktemp("timm")
    model = keras_nfnets.NFNet("test_nfnet", classes=2)
    keras_nfnets.weight_files.write(model, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return model, folder


@pytest.fixture
def hub(monkeypatch, tmp_path, timms):
    """The hub with timm's repository, as if all of a new process asked it."""
    if importlib.util.find_spec("huggingface_hub") is None:
        pytest.skip("huggingface_hub, of the extra hub, is not installed")
    server = Hub()
    for file in timms[1].iterdir():
        server.files[f"{REPOSITORY}/{file.name}"] = file.read_bytes()
    environment = dict(
        HF_ENDPOINT=server.address,
        HF_HOME=tmp_path / "hub",
        HF_HUB_DISABLE_PROGRESS_BARS=1,
        HF_TOKEN="hf_of_a_test",
        no_proxy="127.0.0.1",
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    # It reads them when it is imported.
    for name in [n for n in sys.modules if n.startswith("huggingface_hub")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module("huggingface_hub")
    logging.getLogger("huggingface_hub").setLevel("CRITICAL")
    # It waits up to eight seconds between attempts.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield server
    server.shutdown()
    server.server_close()
    for name in [n for n in sys.modules if n.startswith("huggingface_hub")]:
        del sys.modules[name]


def folder_with(tmp_path, timms, **changes):
    """A copy of timm's folder whose configuration has other fields."""
    folder = shutil.copytree(timms[1], tmp_path / "changed")
    images = {**IMAGES, **changes.pop("images", {})}
    config = {**CONFIG, "pretrained_cfg": images, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def same(model, other):
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_saved_comes_back(pico):
    model, folder = pico
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
    }
    assert list(folder.parent.iterdir()) == [folder]
    copy = from_preset(folder)
    same(model, copy)
    assert copy.variant == VARIANTS["nfnet_pico"]
    assert copy.class_names == ("cat", "dog", "café")
    assert copy.name == "nfnet_pico"


def test_configuration_of_every_network_comes_back(tmp_path):
    path = tmp_path / "config.json"
    for name, variant in VARIANTS.items():
        preset_config.write(preset_config.Preset(variant, 7), path)
        assert preset_config.read(path).variant == variant, name
        # timm's name of a network that it has, or one that timm refuses.
        theirs = json.loads(path.read_text())["architecture"]
        if variant.epsilon_rule == "add":
            assert theirs == name.removesuffix("_timm")
        else:
            assert theirs == f"keras_nfnets/{name}"


def test_configuration_is_read_as_timm_writes_it(timms):
    model = from_preset(timms[1])
    same(timms[0], model)
    variant = model.variant
    assert (variant.train_size, variant.test_size) == (96, 128)
    assert (variant.test_crop, variant.test_squash) == (0.95, True)
    assert variant.pixel_mean == (63.75, 127.5, 191.25)
    assert variant.pixel_std == (51.0, 102.0, 153.0)
    assert model.class_names == ("tench, Tinca tinca", "goldfish")
    white = np.full((1, 1, 1, 3), 255.0)
    x = to_numpy(keras_nfnets.preprocess_input(white, variant))
    # (1 - mean) / std of the configuration.
    np.testing.assert_allclose(x[0, 0, 0], [3.75, 1.25, 0.25 / 0.6], rtol=1e-6)
    crop = keras_nfnets.evaluation_crop(np.zeros((50, 70, 3)), variant)
    assert crop.shape == (128, 128, 3)


def test_old_form_and_names_with_gaps(tmp_path):
    old = {**IMAGES, "architecture": "nf_resnet50", "num_classes": 3}
    old["label_names"] = {"0": "a", "2": "c"}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(old))
    preset = preset_config.read(path)
    assert preset_config.name_of(preset.variant) == "nf_resnet50_timm"
    assert preset.class_names == ("a", "class 1", "c")


def test_own_classes_channels_and_no_classifier(pico, tmp_path):
    _, folder = pico
    with pytest.warns(UserWarning, match="classifier"):
        model = from_preset(folder, class_names=["x", "y"], dropout=0.0)
    assert model.class_names == ("x", "y") and model.output_shape == (None, 2)
    with pytest.warns(UserWarning, match="channel"):
        grey = from_preset(folder, input_shape=(32, 32, 1))
    mean = sum(VARIANTS["nfnet_pico"].pixel_mean) / 3
    assert grey.variant.pixel_mean == pytest.approx((mean,))
    headless = from_preset(folder, include_top=False, pooling="avg")
    headless.save_to_preset(tmp_path / "headless")
    copy = from_preset(tmp_path / "headless", pooling="avg")
    same(headless, copy)
    assert copy.get_layer("head").classes is None
    assert copy.class_names is None


def test_keras_file_keeps_it_and_a_clone_is_no_preset(pico, tmp_path):
    model, _ = pico
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, PresetModel)
    assert loaded.variant == model.variant
    assert loaded.class_names == model.class_names
    same(model, loaded)
    clone = keras.models.clone_model(model)
    with pytest.raises(ValueError, match="must have a `variant`"):
        clone.save_to_preset(tmp_path / "clone")


def test_name_stands_for_the_published_weights(monkeypatch):
    path = FILES / "weights" / "published_format_full.npz"
    monkeypatch.setattr("keras_nfnets.models.presets.fetch", lambda name: path)
    arrays = keras_nfnets.weights.read(path)
    classes = keras_nfnets.weight_files.classes_of(arrays)
    expected = f"num_classes=1000 and weights of {classes} classes"
    with pytest.raises(ValueError, match=expected):
        from_preset("nfnet_f0")
    monkeypatch.undo()
    assert "nfnet_f7" not in published.SOURCES
    with pytest.raises(ValueError, match="`preset` must be .* published wei"):
        from_preset("nfnet_f7")


def test_folder_that_is_there_is_kept(pico, tmp_path, monkeypatch):
    model, folder = pico
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    for path in (folder, other):
        with pytest.raises(FileExistsError, match="must not exist"):
            model.save_to_preset(path)
    with pytest.raises(FileExistsError, match="be a preset"):
        model.save_to_preset(other, overwrite=True)
    copy = shutil.copytree(folder, tmp_path / "copy")

    def fail(arrays, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keras_nfnets.weight_files, "write_arrays", fail)
        with pytest.raises(OSError, match="No space left"):
            model.save_to_preset(copy, overwrite=True)
    same(model, from_preset(copy))
    model.save_to_preset(copy, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"other", "copy"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "eca_nfnet_l9"}, "Did you mean 'eca_nfnet_l"),
        ({"architecture": "resnet50"}, "must be a network of this package"),
        ({"architecture": None}, "must be a network of this package"),
        (
            {"num_classes": 3, "label_names": None},
            "num_classes=3 and weights of 2 classes",
        ),
        ({"num_classes": "2"}, "`num_classes` is '2'"),
        ({"label_names": ["one"]}, "`label_names` has 1 of 2 names"),
        ({"label_descriptions": [1]}, "must be a configuration as timm"),
        ({"model_args": {"attn_layer": "eca"}}, "Received: attn_layer"),
        ({"pretrained_cfg": 3}, "object as `pretrained_cfg`. Received: int"),
        ({"images": {"std": [0, 0, 0]}}, "`std` is"),
        ({"images": {"mean": [0.5]}}, "`mean` is .0.5., with 3 channel"),
        ({"images": {"crop_pct": 3, "test_crop_pct": 3}}, "`crop_pct` is 3"),
        ({"images": {"test_input_size": [3, 64, 96]}}, "equal sides"),
        ({"images": {"input_size": [3, 8, 8]}}, "at least 32 pixels"),
        (
            {"images": {"input_size": [3, 64]}},
            "`input_size` is .3, 64., not",
        ),
        ({"images": {"std": 0.5}}, "`std` is 0.5, with 3 channel"),
        ({"images": {"test_crop_pct": "x"}}, "`crop_pct` is 'x', not from 0"),
        ({"label_names": "ab"}, "`label_names` is 'ab', not a list"),
    ],
)
def test_wrong_configuration_is_refused(changes, message, timms, tmp_path):
    with pytest.raises(ValueError, match=message):
        from_preset(folder_with(tmp_path, timms, **changes))


def test_other_preparation_of_images_is_a_warning(timms, tmp_path):
    folder = folder_with(tmp_path, timms, images={"interpolation": "bilinear"})
    with pytest.warns(UserWarning, match="'bilinear' and 'squash'") as caught:
        preset_config.read(folder / "config.json")
    assert len(caught) == 1


def test_file_that_is_missing_or_no_preset(timms, tmp_path):
    folder = shutil.copytree(timms[1], tmp_path / "preset")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="keras-nfnets convert"):
        from_preset(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match="no 'model.safetensors'"):
        from_preset(folder)
    (folder / "config.json").write_text("[1")
    with pytest.raises(ValueError, match="is not JSON"):
        from_preset(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="no 'config.json'"):
        from_preset(folder)
    with pytest.raises(ValueError, match="Did you mean 'nfnet_l0'"):
        from_preset("nfnet_l00")
    with pytest.raises(
        ValueError, match="Did you mean 'hf://timm/nfnet_l0.ra'"
    ):
        from_preset("timm/nfnet_l0.ra")
    with pytest.raises(ValueError, match="`preset` must be a string or a path"):
        from_preset(None)
    with pytest.raises(ValueError, match="`class_names` must be a sequence of"):
        from_preset("nfnet_pico", load_weights=False, class_names="cat")


def test_classifier_takes_presets(timms):
    model, folder = timms
    photo = np.random.default_rng(0).integers(0, 255, (90, 150, 3), "uint8")
    by_folder, by_model = Classifier(folder), Classifier(from_preset(folder))
    crop = by_folder.read(photo)
    assert crop.shape == (128, 128, 3)
    x = (crop / 255 - IMAGES["mean"]) / IMAGES["std"]
    (expected,) = to_numpy(model(x[None].astype("float32")))
    # The mean and deviation are rounded in float32, before and after.
    atol = 1e-5
    np.testing.assert_allclose(by_folder.predict([crop])[0], expected, 0, atol)
    assert by_model.classify(photo) == by_folder.classify(photo)
    names = {name for name, _ in by_model.classify(photo)[0]}
    assert names == {"tench, Tinca tinca", "goldfish"}
    with pytest.raises(ValueError, match="`runtime` must be 'keras'"):
        Classifier(folder, runtime="onnx")
    with pytest.raises(ValueError, match="preset with a classifier"):
        Classifier(PresetModel(model.input, model.output))


def test_hub_serves_once_and_offline_from_its_cache(hub, timms, monkeypatch):
    same(timms[0], from_preset(ADDRESS))
    assert {r[3] for r in hub.requests if "tiny" in r[1]} == {
        "Bearer hf_of_a_test"
    }
    same(timms[0], from_preset(f"{ADDRESS}@main"))
    assert len(hub.downloads(f"{REPOSITORY}/model.safetensors")) == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    same(timms[0], from_preset(ADDRESS))
    assert not hub.requests
    with pytest.raises(ConnectionError, match="must be in the cache"):
        from_preset("hf://timm/other")


def test_interrupted_download_goes_on(hub, timms, monkeypatch):
    # What is less than a chunk of 10 MB is fetched again.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    file = f"{REPOSITORY}/model.safetensors"
    hub.cuts, hub.stop = 1, 1000
    same(timms[0], from_preset(ADDRESS))
    assert hub.downloads(file) == [None, "bytes=1000-"]


def test_download_that_never_ends_is_an_error_and_not_kept(hub, timms):
    hub.cuts, hub.stop = 100, 0
    with pytest.raises(ConnectionError, match="'model.safetensors' of 'hf://"):
        from_preset(ADDRESS)
    hub.cuts = 0
    same(timms[0], from_preset(ADDRESS))


def test_wrong_architecture_is_refused_before_its_weights_come(hub):
    config = {**CONFIG, "architecture": "nfnet_l9"}
    hub.files[f"{REPOSITORY}/config.json"] = json.dumps(config).encode()
    with pytest.raises(ValueError, match="Did you mean 'nfnet_l0'"):
        from_preset(ADDRESS)
    assert not hub.downloads(f"{REPOSITORY}/model.safetensors")


def test_pickled_weights_are_refused_and_not_fetched(hub):
    weights = hub.files.pop(f"{REPOSITORY}/model.safetensors")
    with pytest.raises(FileNotFoundError, match="has no file 'model.safe"):
        from_preset(ADDRESS)
    hub.files[f"{REPOSITORY}/pytorch_model.bin"] = weights
    with pytest.raises(ValueError, match="pickled alone"):
        from_preset(ADDRESS)
    assert not hub.downloads(f"{REPOSITORY}/pytorch_model.bin")


def test_without_a_network_it_says_what_to_do(hub, monkeypatch):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(ConnectionError, match="put the files .* into a folder"):
        from_preset(ADDRESS)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"keras-nfnets\[hub\]"):
        from_preset(ADDRESS)


@pytest.mark.parametrize("address", ["hf://", "hf://one", "hf://a/b/c", "hf:a"])
def test_address_has_an_owner_and_a_name(address):
    with pytest.raises(ValueError, match="must be hf://OWNER/NAME"):
        hub_files.parse(address)
