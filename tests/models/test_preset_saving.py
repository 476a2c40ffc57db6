"""A model is saved as a preset if it comes back as it was."""

import keras
import numpy as np
import pytest
from helpers import to_numpy

from keras_nfnets import Classifier, NFNet, PresetModel, from_preset


def preset(model, outputs=None, **kwargs):
    """A model as a preset of nfnet_pico."""
    outputs = model.output if outputs is None else outputs
    kwargs = {"variant": "nfnet_pico"} | kwargs
    return PresetModel(model.inputs[0], outputs, **kwargs)


def test_ones_own_network_becomes_a_preset(tmp_path):
    network = NFNet("nfnet_pico", classes=2)
    model = PresetModel(network.input, network.output, variant="nfnet_pico")
    model.save_to_preset(tmp_path / "own")
    copy = from_preset(tmp_path / "own")
    pairs = zip(network.get_weights(), copy.get_weights(), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="a name for each of 2 outputs"):
        PresetModel(
            network.input,
            network.output,
            variant="nfnet_pico",
            class_names=["one"],
        )
    features = from_preset("nfnet_pico", load_weights=False, features=True)
    with pytest.raises(ValueError, match="must have a layer `head`"):
        features.save_to_preset(tmp_path / "features")


def test_a_grey_network_comes_back(tmp_path):
    model = preset(NFNet("nfnet_pico", input_shape=(32, 32, 1), classes=2))
    assert len(model.variant.pixel_mean) == 1
    model.save_to_preset(tmp_path / "grey")
    copy = from_preset(tmp_path / "grey")
    # The file has them to nine digits of [0, 255].
    assert copy.variant.pixel_std == pytest.approx(model.variant.pixel_std)
    x = np.random.default_rng(0).random((1, 32, 32, 1), "float32")
    np.testing.assert_array_equal(to_numpy(model(x)), to_numpy(copy(x)))


def refused(model, message, path):
    with pytest.raises(ValueError, match=message):
        model.save_to_preset(path / "preset")
    assert not any(path.iterdir())


def test_another_network_is_refused(tmp_path):
    network = NFNet("nfnet_pico", input_shape=(32, 32, 3), classes=2)
    message = "its `variant` says to be a preset: .* Received: "
    refused(preset(network, variant="nfnet_l0"), message, tmp_path)
    features = NFNet("nfnet_pico", include_top=False, pooling="avg")
    classifier = keras.layers.Dense(5, name="classifier")(features.output)
    own = preset(features, classifier)
    refused(own, "'classifier.bias' of the shape None", tmp_path)


def test_weights_that_would_not_load_are_refused(tmp_path):
    model = preset(NFNet("nfnet_pico", classes=2))
    bias = model.get_layer("head").classifier.bias
    bias.assign([np.nan, 0.0])
    refused(model, "'head.fc.bias' must have finite values", tmp_path)


def test_pickled_weights_are_refused_by_a_classifier(tmp_path):
    model = from_preset("nfnet_pico", load_weights=False)
    model.save_to_preset(tmp_path / "preset")
    weights = tmp_path / "preset" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(ValueError, match="pickled alone"):
        Classifier(tmp_path / "preset")
