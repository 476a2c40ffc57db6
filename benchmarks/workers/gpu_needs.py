"""Says what one half of `gpu.py` lacks in this environment, if anything.

It runs in the environment of that half, which may lack all but Python.
"""

import importlib.util
import sys

MODULES = {
    "keras_nfnets": ("jax", "keras", "numpy", "h5py", "rich", "safetensors"),
    "timm": ("torch", "numpy", "timm", "torchvision"),
}


def start_jax(device):
    """Raises if our half cannot start."""
    import jax

    import keras_nfnets  # noqa: F401

    try:
        jax.devices()  # of the platform in JAX_PLATFORMS, which is `device`
    except Exception as error:  # of any kind, and without a message too
        raise RuntimeError(f"JAX finds no {device} device") from error


def start_timm(device):
    """Raises if timm's half cannot start."""
    import timm_import  # noqa: F401
    import torch

    torch.zeros(1, device=device)


STARTS = {"keras_nfnets": start_jax, "timm": start_timm}


def lacking(half, device):
    """Returns one line, which is empty where nothing is missing."""
    missing = [m for m in MODULES[half] if not importlib.util.find_spec(m)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        STARTS[half](device)
    except Exception as error:  # a broken installation raises anything
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


if __name__ == "__main__":
    # Frameworks print to standard output, some of them on import.
    print("answer:", lacking(*sys.argv[1:]))
