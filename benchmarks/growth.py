"""How a training step's cost grows: with batch, with pixels, with steps.

make bench
.venv/bin/python benchmarks/growth.py --model nfnet_pico --rounds 2
"""

import statistics

import contest
import tables

BATCHES, SIZE = (1, 2, 4, 8, 16), 192  # images, pixels
SIZES, BATCH = (128, 160, 192, 224, 256, 288, 320), 4
STEPS, STEPS_BATCH, STEPS_SIZE = 200, 1, 128  # where memory could pile up
ALIVE = 4  # processes at a time; one of NFNet-F0 holds 3 GB and more
OURS = contest.CONTENDERS["keras_nfnets"]


def main():
    options = _options()
    model = options.model
    batches = {
        f"batch {batch}": (OURS, contest.arguments("train", model, batch, SIZE))
        for batch in BATCHES
    }
    sizes = {
        f"{size} px": (OURS, contest.arguments("train", model, BATCH, size))
        for size in SIZES
    }
    lines = [
        f"# How a training step of {model} grows",
        "",
        f"{OURS.title}, float32, with AGC. {ALIVE} sizes at most take turns "
        "with each other.",
        *tables.conditions(options.rounds, options.steps),
        "",
        f"## With the batch, at {SIZE} px",
        "",
        *_growth(_measure(batches, options), BATCHES, "images"),
        "",
        f"## With the image, at batch {BATCH}",
        "",
        *_growth(
            _measure(sizes, options),
            [size**2 / 1000 for size in SIZES],
            "thousand pixels of an image",
        ),
        "",
        f"## Memory over {STEPS} steps, batch {STEPS_BATCH} at {STEPS_SIZE} px",
        "",
        *_memory(model, options.python),
    ]
    tables.publish(lines, options.out)


def _options():
    parser = tables.parser(__doc__, rounds=6)
    parser.add_argument("--steps", type=int, default=2, help="per round")
    parser.add_argument("--model", default="nfnet_f0")
    return parser.parse_args()


def _measure(entrants, options):
    """Measures a few at a time; each group has small and large ones."""
    names, workers = list(entrants), {}
    groups = -(-len(names) // ALIVE)
    for group in range(groups):
        few = {name: entrants[name] for name in names[group::groups]}
        workers |= contest.measure(few, options)
    return {name: workers[name] for name in names}


def _growth(workers, amounts, unit):
    """Returns the lines of a table, and of the line through its seconds.

    Args:
        workers: Dictionary from a title to a worker that has ended.
        amounts: What each of them had to do, a number each.
        unit: String, what the amounts are counted in.
    """
    seconds = [worker.seconds for worker in workers.values()]
    slope, intercept = statistics.linear_regression(amounts, seconds)
    fit = statistics.correlation(amounts, seconds) ** 2
    rows = [
        [
            title,
            f"{worker.seconds:.3f}",
            f"{intercept + slope * amount:.3f}",
            tables.gigabytes(worker.peak),
        ]
        for (title, worker), amount in zip(
            workers.items(), amounts, strict=True
        )
    ]
    return [
        *tables.table(["", "seconds", "on the line", "peak, GB"], rows),
        "",
        f"Least squares: {intercept:.3f} s + {slope:.4f} s times {unit}, "
        f"R^2 = {fit:.4f}.",
        "The first number is what the weights cost, whatever the images.",
    ]


def _memory(model, pythons):
    """Returns the lines of a table of what is in memory as steps go on."""
    print(f"{STEPS} steps", flush=True)
    job = contest.arguments("train", model, STEPS_BATCH, STEPS_SIZE)
    worker = contest.Worker(OURS, job, pythons)
    halves = (0, STEPS // 2, STEPS - STEPS // 2)
    resident = [worker.run(steps)["resident"] for steps in halves]
    worker.stop()
    columns = ["", "after warming up", "half-way", "at the end"]
    cells = [tables.gigabytes(count) for count in resident]
    return tables.table(columns, [["resident, GB", *cells]])


if __name__ == "__main__":
    main()
