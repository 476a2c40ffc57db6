"""Training and inference, side by side with other libraries.

make bench
.venv/bin/python benchmarks/side_by_side.py --jobs train_f0 --only keras_nfnets
"""

from dataclasses import dataclass

import contest
import tables


@dataclass(frozen=True)
class Job:
    """Some rows of the table: what is done, and by whom."""

    what: str
    task: str
    model: str
    batch: int
    size: int
    contenders: tuple


F0, RESNET = "nfnet_f0", "nf_resnet50"
TRAIN_F0 = ("keras_nfnets", "keras_nfnets_jax", "batch_norm", "kecam", "timm")
INFER_F0 = ("keras_nfnets", "folded", "batch_norm", "kecam", "timm")
TRAIN_RESNET = ("keras_nfnets", "applications", "timm")
INFER_RESNET = ("keras_nfnets", "folded", "applications", "timm")
TRAIN_REGNET = ("keras_nfnets", "nf_regnet_b1_timm", "timm")
JOBS = {
    "train_f0": Job("training NFNet-F0", "train", F0, 4, 192, TRAIN_F0),
    "train_resnet50": Job(
        "training NF-ResNet-50", "train", RESNET, 4, 192, TRAIN_RESNET
    ),
    "train_regnet_b1": Job(
        "training NF-RegNet-B1", "train", "nf_regnet_b1", 4, 192, TRAIN_REGNET
    ),
    "infer_f0_1": Job("inference, NFNet-F0", "infer", F0, 1, 256, INFER_F0),
    "infer_f0_8": Job("inference, NFNet-F0", "infer", F0, 8, 256, INFER_F0),
    "infer_resnet50_1": Job(
        "inference, NF-ResNet-50", "infer", RESNET, 1, 256, INFER_RESNET
    ),
    "infer_resnet50_8": Job(
        "inference, NF-ResNet-50", "infer", RESNET, 8, 256, INFER_RESNET
    ),
}
BASELINES = ("keras_nfnets", "timm")
STARTUP = ("import", "build", "first step")
COLUMNS = (
    "what",
    "by",
    "seconds",
    *(f"ratio to {name}" for name in BASELINES),
    "peak, GB",
    *(f"{part}, s" for part in STARTUP),
    "parameters",
)


def main():
    options = _options()
    rows, versions = [], {}
    for name in options.jobs:
        job = JOBS[name]
        workers = _run(name, job, options)
        rows += [_row(job, name, workers) for name in workers]
        for name, worker in workers.items():
            versions[contest.CONTENDERS[name].title] = worker.about["versions"]
    tables.publish(_report(rows, versions, options), options.out)


def _options():
    parser = tables.parser(__doc__, rounds=10)
    parser.add_argument("--steps", type=int, default=3, help="per round")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument(
        "--only",
        nargs="+",
        choices=contest.CONTENDERS,
        default=list(contest.CONTENDERS),
    )
    return parser.parse_args()


def _run(name, job, options):
    """Returns the workers of those contenders that are asked for."""
    print(f"{name}:", flush=True)
    arguments = contest.arguments(job.task, job.model, job.batch, job.size)
    entrants = {
        name: (contest.CONTENDERS[name], arguments)
        for name in job.contenders
        if name in options.only
    }
    return contest.measure(entrants, options)


def _row(job, name, workers):
    worker = workers[name]
    note = f" ({worker.about['note']})" if worker.about["note"] else ""
    startup = worker.about["startup"]
    return [
        f"{job.what}, batch {job.batch}, {job.size} px",
        contest.CONTENDERS[name].title + note,
        f"{worker.seconds:.2f}",
        *(_ratio(worker, workers.get(other)) for other in BASELINES),
        tables.gigabytes(worker.peak),
        *(f"{startup[part]:.1f}" for part in STARTUP),
        f"{worker.about['parameters']:,}",
    ]


def _ratio(worker, baseline):
    return tables.ratio(worker.rounds, baseline.rounds) if baseline else ""


def _report(rows, versions, options):
    return [
        "# Side by side",
        "",
        "float32, 1000 classes, on fixed data. Training is `train_on_batch` "
        "after `compile` with its",
        "defaults, with Nesterov SGD; inference is `predict_on_batch`; or "
        "PyTorch's eager mode.",
        *tables.conditions(options.rounds, options.steps),
        "Import, build and first step (which traces and compiles) are single "
        "readings;",
        "`STARTUP.md` has medians.",
        "",
        *tables.table(COLUMNS, rows),
        "",
        *(f"- {title}: {_listed(v)}" for title, v in versions.items()),
    ]


def _listed(versions):
    return ", ".join(f"{name} {version}" for name, version in versions.items())


if __name__ == "__main__":
    main()
