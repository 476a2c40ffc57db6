"""Operations are chosen for the device that will run them."""

import subprocess
import sys

import pytest
from helpers import BACKEND

from keras_nfnets.layers import device

only_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="asks TensorFlow"
)


def test_target_stands_in_for_the_device_of_this_machine():
    before = device.device()
    with device.tracing_for("tpu"):
        assert device.device() == (BACKEND, "tpu")
        assert not device.on_tensorflow_cpu()
    assert device.device() == before


@only_tensorflow
def test_programs_of_xla_get_none_of_tensorflow_s_kernels():
    import tensorflow as tf

    seen = []

    def look(x):
        seen.append(device.on_tensorflow_cpu())
        return x

    for jit_compile in (True, False):
        tf.function(look, jit_compile=jit_compile)(tf.ones(()))
    assert seen == [False, True]
    assert device.on_tensorflow_cpu()


@pytest.mark.long
@only_tensorflow
def test_onednn_is_what_tensorflow_was_told(monkeypatch):
    # Here it is what the CPU and the environment say, there the other.
    told = device.has_onednn()
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", str(int(not told)))
    code = "from keras_nfnets.layers import device; print(device.has_onednn())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split()[-1] == str(not told)
