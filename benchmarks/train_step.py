"""One training step of NFNet-F0, side by side with other libraries.

make bench
.venv/bin/python benchmarks/train_step.py --only keras_nfnets kecam
"""

import contest

BATCH, SIZE = 4, 192  # images, pixels
NAMES = ("keras_nfnets", "kecam", "timm")


def main():
    options = contest.options(__doc__, NAMES)
    abouts, seconds = contest.measure(
        options, ["train", "--batch", str(BATCH), "--size", str(SIZE)]
    )
    lines = [
        "# One training step of NFNet-F0",
        "",
        f"Batch {BATCH} at {SIZE} px, float32, 1000 classes, Nesterov SGD, on "
        "fixed data: `train_on_batch`",
        "after `compile` with its defaults, or PyTorch's eager mode.",
        *contest.conditions(options),
        "",
        *contest.table(
            abouts, seconds, [n for n in ("kecam", "timm") if n in seconds]
        ),
    ]
    contest.publish(lines, options.out)


if __name__ == "__main__":
    main()
