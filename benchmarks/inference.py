"""Inference of NFNet-F0, folded and not, side by side with timm.

make bench
.venv/bin/python benchmarks/inference.py --only keras_nfnets folded
"""

import contest

BATCHES, SIZE = (1, 8), 256  # images, pixels
NAMES = ("keras_nfnets", "folded", "timm")


def main():
    options = contest.options(__doc__, NAMES)
    lines = [
        "# Inference of NFNet-F0",
        "",
        f"At {SIZE} px, float32, 1000 classes, on fixed data: "
        "`predict_on_batch`, or PyTorch's eager",
        "mode without gradients.",
        *contest.conditions(options),
    ]
    for batch in BATCHES:
        abouts, seconds = contest.measure(
            options, ["infer", "--batch", str(batch), "--size", str(SIZE)]
        )
        baselines = [n for n in ("keras_nfnets", "timm") if n in seconds]
        lines += ["", f"## Batch {batch}", ""]
        lines += contest.table(abouts, seconds, baselines)
    contest.publish(lines, options.out)


if __name__ == "__main__":
    main()
