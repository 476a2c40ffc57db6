"""Writes a network of timm as ONNX, as timm does it, and prints nothing.

python benchmarks/workers/write_timm.py NAME SIZE BATCH FILE
"""

import sys

import torch
from timm_import import timm


def main(name, size, batch, file):
    model = timm.create_model(name, exportable=True).eval()
    shape = (int(batch), 3, int(size), int(size))
    with torch.no_grad():
        for key, value in model.named_parameters():
            # Gains start as zeros.
            if key.endswith("skipinit_gain"):
                value.fill_(0.7)
    # The batch is fixed, which is to timm's advantage: ours is free.
    torch.onnx.export(
        torch.nn.Sequential(model, torch.nn.Softmax(-1)),
        (torch.zeros(shape),),
        file,
        input_names=["images"],
        output_names=["outputs"],
        dynamo=False,
        opset_version=20,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
