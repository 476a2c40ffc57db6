"""An `AGCModel` is pickled, cloned, saved and loaded as a `keras.Model` is."""

import copy
import json
import pickle
import zipfile

import keras
import numpy as np
import pytest
from agc_models import dense_data, dense_model
from helpers import to_numpy

import keras_nfnets
from keras_nfnets.training.agc_rules import inner_optimizer
from keras_nfnets.training.agc_step import has_agc
from keras_nfnets.training.optimizers import with_agc

SETTINGS = keras_nfnets.AGC(0.02, exclude=["top/bias"])
LOSS_SCALE = keras.optimizers.LossScaleOptimizer


class OfArguments(keras_nfnets.AGCModel):
    """Makes itself from inputs and outputs."""

    def __init__(self, units=6, **kwargs):
        inputs = keras.Input((8,))
        x = keras.layers.Dense(units, "tanh", name="hidden")(inputs)
        outputs = keras.layers.Dense(3, name="top")(x)
        super().__init__(inputs, outputs, **kwargs)

    def get_config(self):
        return {"units": 6}


class Stack(keras_nfnets.AGCModel, keras.Sequential):
    """An `AGCModel` that is made from a list of layers."""


def make(kind):
    if kind == "functional":
        model = dense_model()
    elif kind == "subclass":
        model = OfArguments()
    else:
        hidden = keras.layers.Dense(6, "tanh", name="hidden")
        top = keras.layers.Dense(3, name="top")
        model = Stack([keras.Input((8,)), hidden, top])
    return model


KINDS = ("functional", "subclass", "stack")
SCOPE = {"OfArguments": OfArguments, "Stack": Stack}


def compiled(kind, **kwargs):
    model = make(kind)
    optimizer = keras.optimizers.SGD(0.1)
    # Keras cannot load a loss by name from an .h5 file.
    loss = keras.losses.MeanSquaredError()
    model.compile(optimizer, loss, **{"agc": SETTINGS, **kwargs})
    return model


def clipped_units(optimizer):
    """The units of an optimizer, once it is built."""
    return inner_optimizer(optimizer).rules.units


def assert_trains_alike(model, other):
    x, y = dense_data(8)
    other.set_weights(model.get_weights())
    for each in (model, other):
        each.fit(x, 100 * y, batch_size=8, verbose=0)
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        # Two compilations of one sum round apart.
        np.testing.assert_allclose(
            to_numpy(ours), to_numpy(theirs), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_model_is_the_same_model(kind):
    model = compiled(kind)
    with keras.saving.custom_object_scope(SCOPE):
        loaded = pickle.loads(pickle.dumps(model))
        copied = copy.deepcopy(model)
    x, _ = dense_data(4)
    for each in (loaded, copied):
        assert type(each) is type(model)
        assert each.optimizer.agc == SETTINGS
        np.testing.assert_array_equal(to_numpy(each(x)), to_numpy(model(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_of_a_model_can_be_pickled(kind):
    cls = type(make(kind))
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_a_class_stays_itself_when_a_model_is_made_of_it():
    assert type(OfArguments()) is OfArguments
    # The class of a functional model goes by the public name in a file.
    config = keras.saving.serialize_keras_object(dense_model())
    assert config["registered_name"] == "keras_nfnets>AGCModel"
    assert keras_nfnets.AGCModel in type(dense_model()).__mro__


@pytest.mark.parametrize("with_function", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clone_clips_as_the_model_does(kind, with_function):
    model = compiled(kind)
    how = {}
    if with_function:
        how["clone_function"] = lambda x: type(x).from_config(x.get_config())
    clone = keras.models.clone_model(model, **how)
    assert clone.optimizer.agc == SETTINGS
    assert_trains_alike(model, clone)
    assert clipped_units(clone.optimizer) == [(0,), (0,), (0,), None]


def test_a_clone_of_a_stack_knows_its_classifier():
    model = compiled("stack", agc=keras_nfnets.AGC(0.02))
    clone = keras.models.clone_model(model)
    clone.optimizer.build(clone.trainable_variables)
    # Keras makes a plain Sequential, which has no classifier for AGC.
    assert clipped_units(clone.optimizer) == [(0,), (0,), None, (0,)]


@pytest.mark.parametrize("arguments", [(), (True,), (True, "named")])
def test_arguments_of_a_stack_are_those_of_a_sequential(arguments):
    layers = [keras.Input((8,)), keras.layers.Dense(3)]
    model = Stack(layers, *arguments)
    assert type(model) is Stack
    assert model.output_shape == (None, 3)


def config_of(path):
    with zipfile.ZipFile(path) as file:
        return file.read("config.json")


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_two_saves_of_a_model_are_the_same(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = compiled("functional", sam=keras_nfnets.SAM())
    model.fit(*dense_data(8), verbose=0)
    first, second = (tmp_path / f"{name}.keras" for name in "ab")
    model.save(first)
    _ = compiled("functional")  # takes the place of what was let go
    model.save(second)
    assert config_of(first) == config_of(second)
    settings = json.loads(config_of(first))["compile_config"]
    assert "shared_object_id" not in json.dumps(settings)


def test_two_optimizers_do_not_become_one_in_a_file():
    rates = 0.1, 0.2
    pair = {
        str(rate): with_agc(keras.optimizers.SGD(rate), keras_nfnets.AGC(rate))
        for rate in rates
    }
    with keras.src.saving.serialization_lib.ObjectSharingScope():
        config = keras.saving.serialize_keras_object(pair)
    assert "shared_object_id" not in json.dumps(config)


def test_agc_and_sam_come_back_from_a_file(tmp_path):
    sam = keras_nfnets.SAM(0.1)
    for agc in (SETTINGS, None):
        model = compiled("functional", agc=agc, sam=sam)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert (loaded._agc, loaded._sam) == (agc, sam)
    optimizer = with_agc(keras.optimizers.SGD(0.1), SETTINGS)
    model = dense_model()
    model.compile(optimizer, "mse", agc=None)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded._agc is None
    assert loaded.optimizer.agc == SETTINGS


@keras.saving.register_keras_serializable("tests")
class OwnCompile(keras_nfnets.AGCModel):
    """Has a required argument of its own in `compile`."""

    def compile(self, other, **kwargs):
        super().compile("sgd", "mse", **kwargs)
        self.other = other


def test_a_model_with_a_compile_of_its_own_loads_with_keras_warning(tmp_path):
    inputs = keras.Input((8,))
    model = OwnCompile(inputs, keras.layers.Dense(3)(inputs))
    model.compile("other")
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="`compile\\(\\)` was not called"):
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not hasattr(loaded, "other")
    x, _ = dense_data(4)
    np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))


@pytest.mark.filterwarnings("ignore:.*legacy:UserWarning")
class TestH5:
    """A whole model in an .h5 file, Keras's old format."""

    @pytest.mark.parametrize(
        "settings", [dict(), dict(agc=None, sam=keras_nfnets.SAM())]
    )
    def test_agc_and_sam_are_refused(self, settings, tmp_path):
        model = compiled("functional", **settings)
        with pytest.raises(ValueError, match="cannot keep AGC or SAM"):
            model.save(tmp_path / "model.h5")

    @pytest.mark.parametrize("around", [lambda x: x, LOSS_SCALE])
    def test_agc_of_an_optimizer_is_refused(self, around, tmp_path):
        inputs = keras.Input((8,))
        model = keras.Model(inputs, keras.layers.Dense(3, name="top")(inputs))
        optimizer = around(with_agc(keras.optimizers.SGD(0.1), SETTINGS))
        model.compile(optimizer, "mse")
        with pytest.raises(ValueError, match="cannot keep AGC or SAM"):
            model.save(tmp_path / "model.h5")
        keras.saving.save_model(
            model, tmp_path / "model.h5", include_optimizer=False
        )

    def test_without_them_a_model_comes_back_without(self, tmp_path):
        model = compiled("functional", agc=None)
        x, y = dense_data(8)
        model.fit(x, y, verbose=0)
        path = tmp_path / "model.h5"
        model.save(path)
        loaded = keras.saving.load_model(path)
        assert loaded._agc is None
        assert isinstance(loaded.optimizer, keras.optimizers.SGD)
        assert not has_agc(loaded.optimizer)
        np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))
        # Compiled by hand it trains with AGC, as any other does.
        by_hand = keras.saving.load_model(path, compile=False)
        by_hand.compile("sgd", "mse")
        assert by_hand._agc == keras_nfnets.AGC()
        # Keras takes the optimizer out of the settings that it writes there.
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert isinstance(again.optimizer, keras.optimizers.SGD)

    def test_weights_are_saved_without_the_optimizer(self, tmp_path):
        model = compiled("functional")
        path = tmp_path / "model.h5"
        keras.saving.save_model(model, path, include_optimizer=False)
        x, _ = dense_data(4)
        loaded = keras.saving.load_model(path, compile=False)
        np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))
