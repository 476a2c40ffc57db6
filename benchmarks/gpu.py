"""Training or inference in bfloat16 on one GPU, side by side with timm.

KERAS_BACKEND=jax python benchmarks/gpu.py --out benchmarks/results/GPU.md
KERAS_BACKEND=jax python benchmarks/gpu.py --task infer --models nfnet_f0
python benchmarks/gpu.py --device cpu --models test_nfnet --batch 2 --size 32

Both halves run in the environment of this interpreter, or in one each with
--python. The second line tries the script where there is no GPU.

Exit status: 0 if every model was measured, 1 if one failed, 2 if our half
cannot run at all.
"""

import functools
import os
import subprocess
import sys
from dataclasses import dataclass

import contest
import gpu_report
import tables
from gpu_report import OURS, TIMM


@dataclass(frozen=True)
class Model:
    """One network as both libraries name it, and how it is trained."""

    title: str
    timm: str | None
    size: int  # pixels, the training size of `keras_nfnets.VARIANTS`
    batch: int  # both halves fit together into 80 GB, by estimate


MODELS = {
    "nfnet_f0": Model("NFNet-F0", "dm_nfnet_f0", 192, 256),
    "nfnet_f1": Model("NFNet-F1", "dm_nfnet_f1", 224, 128),
    "nfnet_f3": Model("NFNet-F3", "dm_nfnet_f3", 320, 64),
    "nf_resnet50_timm": Model("NF-ResNet-50", "nf_resnet50", 256, 256),
    "test_nfnet": Model("test_nfnet", "test_nfnet", 160, 256),
    "nfnet_pico": Model("nfnet_pico", None, 32, 1024),
}
DEFAULT = ("nfnet_f0", "nfnet_f1", "nfnet_f3", "nf_resnet50_timm")


def main():
    options = _options()
    try:
        halves, skipped = _runnable(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    results = [_measure(name, halves, options) for name in options.models]
    lines = gpu_report.report(results, skipped, options)
    tables.publish(lines, options.out)
    return int(any(result.failure for result in results))


def _contenders(options, timm=None):
    """Returns the halves; timm's has its own name of the model."""
    paths = [str(contest.ROOT), os.environ.get("PYTHONPATH")]
    return {
        OURS: contest.Contender(
            "keras_nfnets, JAX",
            ".venv",
            "worker_gpu_keras.py",
            {
                "KERAS_BACKEND": "jax",
                # Otherwise JAX takes most of the GPU's memory, and falls back
                # to the CPU where it finds no GPU.
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
                "JAX_PLATFORMS": options.device,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            },
        ),
        TIMM: contest.Contender(
            "timm, PyTorch",
            ".venv-timm",
            "worker_gpu_timm.py",
            options=("--model", str(timm), "--device", options.device),
        ),
    }


def _runnable(options):
    """Returns the halves that can run, and why timm's is not among them."""
    for name in ("rounds", "steps", "batch", "size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(
                f"`{name}` must be positive. Received: {name}={value}"
            )
    lacking = {half: _lacking(half, options) for half in options.only}
    halves = [half for half, lacks in lacking.items() if not lacks]
    if lacking.get(OURS) or not halves:
        raise ValueError(
            "`only` must name halves that can run here. Received: "
            + "; ".join(
                f"{h}: {lacks}" for h, lacks in lacking.items() if lacks
            )
        )
    reason = lacking.get(TIMM)
    if reason:
        print(f"timm is skipped: {reason}", flush=True)
    return halves, reason


def _lacking(half, options):
    contender = _contenders(options)[half]
    python = contest.interpreter(contender.venv, options.python)
    needs = contest.WORKERS / "gpu_needs.py"
    return (
        subprocess.run(
            [python, needs, half, options.device],
            env=os.environ | contender.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        .stdout.rpartition("answer: ")[-1]
        .strip()
    )


def _measure(name, halves, options):
    """Returns a `Result`, also where the model did not run."""
    model = MODELS[name]
    batch, size = options.batch or model.batch, options.size or model.size
    print(f"{model.title}, batch {batch} at {size} px", flush=True)
    contenders = _contenders(options, model.timm)
    job = contest.arguments(options.task, name, batch, size)
    entrants = {
        half: (contenders[half], job)
        for half in halves
        if half == OURS or model.timm
    }
    result = functools.partial(gpu_report.Result, model.title, size, batch)
    try:
        return result(contest.measure(entrants, options))
    except RuntimeError as error:  # too large for the GPU, say
        return result(failure=str(error))


def _options():
    parser = tables.parser(__doc__, rounds=5)
    # Environments for which --python says nothing else.
    own = [(venv, sys.executable) for venv in (".venv", ".venv-timm")]
    parser.add_argument("--task", choices=("train", "infer"), default="train")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=list(DEFAULT)
    )
    parser.add_argument(
        "--only", nargs="+", choices=(OURS, TIMM), default=[OURS, TIMM]
    )
    parser.add_argument("--batch", type=int, help="in place of each model's")
    parser.add_argument("--size", type=int, help="in place of each model's")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=20, help="per round")
    options = parser.parse_args()
    options.python = own + options.python
    return options


if __name__ == "__main__":
    sys.exit(main())
