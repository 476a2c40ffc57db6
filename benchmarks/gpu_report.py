"""The report of `gpu.py`: images per second, and share of the chip's peak."""

from dataclasses import dataclass, field

import tables

OURS, TIMM = "keras_nfnets", "timm"

# FLOP/s of matrix products in bfloat16 without sparsity, as NVIDIA publishes
# them, by the name that the driver gives the chip.
PEAKS = {
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA GeForce RTX 4090": 165e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
}
# A multiply-add is two; the gradients of inputs and of kernels take one
# forward pass each.
FLOP_PER_MULTIPLY_ADD = {"train": 2 * 3, "infer": 2}
TITLES = {
    "train": (
        "# Training on one GPU",
        "",
        "Images per second in bfloat16, 1000 classes, Nesterov SGD with L2 and "
        "AGC, no EMA, no dropout,",
        "on fixed data on the device. keras_nfnets: `mixed_bfloat16` on JAX, "
        "the step that `model.fit`",
        "runs. timm: `torch.compile`, channels_last, autocast.",
    ),
    "infer": (
        "# Inference on one GPU",
        "",
        "Images per second in bfloat16, 1000 classes, on fixed data on the "
        "device. keras_nfnets: folded,",
        "`mixed_bfloat16` on JAX. timm: `torch.compile`, channels_last, "
        "weights in bfloat16.",
    ),
}
COLUMNS = (
    *("model", "px", "batch", "keras_nfnets", "share of peak"),
    *("timm", "share of peak", "ratio"),
)


@dataclass(frozen=True)
class Result:
    """What came of one model: a `contest.Worker` by half, or why not."""

    title: str
    size: int
    batch: int
    workers: dict = field(default_factory=dict)
    failure: str = ""


def report(results, skipped, options):
    """Returns the lines of the report in Markdown.

    Args:
        results: List of `Result`.
        skipped: String, why timm was not run, or nothing.
        options: With the numbers `rounds` and `steps`.
    """
    abouts = {h: w.about for r in results for h, w in r.workers.items()}
    devices = dict.fromkeys(about["device"] for about in abouts.values())
    return [
        *TITLES[options.task],
        *tables.where_and_when(options.rounds, options.steps),
        *(f"Device: {device}." for device in devices),
        *(f"{half}: {_versions(about)}." for half, about in abouts.items()),
        "The clock stops once a round's last step has ended. Rates are medians "
        "over rounds; their ratio is",
        "taken within each round: median (smallest to largest), above 1 where "
        "keras_nfnets is faster.",
        f"Share: {FLOP_PER_MULTIPLY_ADD[options.task]} FLOP per multiply-add "
        "of the convolutions and dense layers,",
        "of the dense bfloat16 peak",
        "that the maker publishes.",
        "",
        *tables.table(COLUMNS, [_row(r, options.task) for r in results]),
        *(f"\n{note}" for note in _notes(results, skipped, devices)),
    ]


def _notes(results, skipped, devices):
    if skipped:
        yield f"timm was not run: {skipped}."
    for device in devices:
        if device not in PEAKS:
            yield f"No share of the peak: none is known here for {device!r}."
    for result in results:
        if result.failure:
            yield f"{result.title} was not measured: {result.failure}"


def _versions(about):
    return ", ".join(f"{name} {v}" for name, v in about["versions"].items())


def _row(result, task):
    ratio = ""
    if len(result.workers) == 2:
        ratio = tables.ratio(
            result.workers[TIMM].rounds, result.workers[OURS].rounds
        )
    return [
        result.title,
        str(result.size),
        str(result.batch),
        *_rate_and_share(result, OURS, task),
        *_rate_and_share(result, TIMM, task),
        ratio,
    ]


def _rate_and_share(result, half, task):
    if half not in result.workers:
        return "", ""
    worker = result.workers[half]
    rate = result.batch / worker.seconds
    peak = PEAKS.get(worker.about["device"])
    # Our half counts for both: the network is the same.
    ours = result.workers.get(OURS)
    if not peak or not ours:
        return f"{rate:,.1f}", ""
    flop = ours.about["multiply_adds"] * FLOP_PER_MULTIPLY_ADD[task]
    return f"{rate:,.1f}", f"{rate * flop / peak:.1%}"
