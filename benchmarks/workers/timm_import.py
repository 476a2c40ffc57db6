"""timm, also where torchvision's wheel is for another build of PyTorch."""

import torch

try:
    import torchvision
except RuntimeError:
    # Its wheel is for PyTorch's CUDA build. On the CPU build its operators are
    # missing, which timm does not use but which it asks for on import.
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}() -> ()")
    import torchvision  # noqa: F401

import timm as timm
from timm.utils.agc import adaptive_clip_grad as adaptive_clip_grad
