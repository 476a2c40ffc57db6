"""Networks are listed by what is published and by family."""

import pytest

import keras_nfnets


def test_all_and_some():
    names = keras_nfnets.list_models()
    assert names == list(keras_nfnets.VARIANTS)
    found = keras_nfnets.list_models(pretrained=True, family="nf_regnet")
    assert found == ["nf_regnet_b1_timm"]


def test_bad_input():
    with pytest.raises(ValueError, match="Did you mean 'nf_regnet'"):
        keras_nfnets.list_models(family="nf_regnets")
    # What was meant as a family is none of a boolean.
    with pytest.raises(ValueError, match="`pretrained` must be a boolean"):
        keras_nfnets.list_models("nf_regnet")
