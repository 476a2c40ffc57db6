"""timm's loader of a folder of JPEGs, on the CPU.

python benchmarks/workers/worker_timm_loader.py FOLDER --augment POLICY

Each line on the standard input is a turn, with the seconds that it takes at
least. The answer is the batches a second.
"""

import argparse
import json
import os
import sys

import torch
from pace import batches_per_second
from timm_import import timm

from timm.data import ImageDataset, create_loader  # isort: skip

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("folder")
parser.add_argument("--augment", help="timm's name of a policy")
parser.add_argument("--size", type=int, default=192)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--warm-up", type=int, default=4, help="batches")
REPEATS = 100  # of the few files: an epoch longer than any turn


def main():
    options = parser.parse_args()
    torch.set_num_threads(1)  # the loader's processes take the cores
    loader = loader_of(options)
    versions = {"timm": timm.__version__, "torch": torch.__version__}
    answer({"versions": versions})
    for line in sys.stdin:
        batches, seconds = iter(loader), float(line)
        answer(batches_per_second(batches, seconds, options.warm_up))


def answer(content):
    print(json.dumps(content), flush=True)


def loader_of(options):
    """Returns the loader as timm's training script makes it, for a CPU."""
    dataset = ImageDataset(options.folder)
    dataset.reader.samples *= REPEATS
    return create_loader(
        dataset,
        input_size=(3, options.size, options.size),
        batch_size=options.batch,
        is_training=True,
        use_prefetcher=True,  # batches are bytes until they are whole
        device=torch.device("cpu"),
        auto_augment=options.augment,
        color_jitter=None,
        re_prob=0.0,
        interpolation="bicubic",
        num_workers=len(os.sched_getaffinity(0)),
    )


if __name__ == "__main__":
    main()
