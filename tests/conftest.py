"""Every test starts from one seed and from Keras's own settings."""

import importlib.metadata
import os
import tempfile

# Compiling is most of a test's time on JAX; optimizing code that runs once
# costs more than it saves: without these flags it takes half as long again.
# Before JAX is imported.
if os.environ.get("KERAS_BACKEND") == "jax":
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_backend_optimization_level=0"
    # An older XLA ends the process at a flag that it does not know, and one of
    # JAX 0.5 crashes where it reads what another process compiled.
    release = importlib.metadata.version("jaxlib").split(".")
    is_recent = tuple(map(int, release[:2])) >= (0, 7)
    if is_recent:
        flags += " --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = flags
    # What one worker compiled, the others and their subprocesses read.
    if is_recent and "PYTEST_XDIST_WORKER" not in os.environ:
        cache = tempfile.TemporaryDirectory(prefix="keras_nfnets_jax_")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import keras  # noqa: E402
import pytest  # noqa: E402

# What these test runs on TensorFlow or NumPy alone, whatever Keras runs on, or
# is words, files, numbers and graphs that no backend computes.
SAME_ON_ALL_BACKENDS = (
    "data/test_augmentation.py",
    "data/test_byte_images.py",
    "data/test_distortion.py",
    "data/test_grid.py",
    "data/test_order.py",
    "data/test_pipeline.py",
    "data/test_pixels.py",
    "data/test_randaugment.py",
    "data/test_shards.py",
    "data/test_sources.py",
    "data/test_unreadable.py",
    "demo/",
    "export/test_onnx.py",
    "export/test_serving.py",
    "models/test_presets.py",
    "recipes/test_table.py",
    "runs/test_classifier.py",
    "runs/test_damage.py",
    "runs/test_folder.py",
    "runs/test_lock.py",
    "runs/test_networks.py",
    "runs/test_settings.py",
    "runs/test_stored.py",
    "surgery/test_applications.py",
    "surgery/test_bad_input.py",
    "surgery/test_report.py",
    "surgery/test_signal.py",
    "test_cli_export.py",
    "test_layering.py",
    "test_image_size.py",
    "test_sizes.py",
    "training/test_numpy_model.py",
    "variants/",
    "weights/test_channels.py",
    "weights/test_damaged.py",
    "weights/test_fuzz.py",
    "weights/test_haiku.py",
    "weights/test_haiku_arrays.py",
    "weights/test_pickle_machine.py",
    "weights/test_published.py",
    "weights/test_target.py",
    "weights/test_values.py",
)


def pytest_collection_modifyitems(items):
    """Leaves to TensorFlow's run what no backend can answer otherwise.

    Long tests come first, or one worker would wait for the other's last one.
    """
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if keras.backend.backend() == "tensorflow":
        return
    skip = pytest.mark.skip(reason="the same on all backends")
    for item in items:
        path = item.path.relative_to(item.config.rootpath / "tests")
        if str(path).startswith(SAME_ON_ALL_BACKENDS):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _fresh():
    """Each test draws the same numbers, alone or among others."""
    keras.utils.set_random_seed(0)
    keras.utils.clear_session(free_memory=False)
    yield
    keras.config.set_dtype_policy("float32")
