import os

# Compiling is most of a test's time on JAX; optimizing code that runs once
# costs more than it saves. Before JAX is imported.
if os.environ.get("KERAS_BACKEND") == "jax":
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0"

import keras  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _fresh():
    """Each test draws the same numbers, alone or among others."""
    keras.utils.set_random_seed(0)
    keras.utils.clear_session(free_memory=False)
    yield
    keras.config.set_dtype_policy("float32")
