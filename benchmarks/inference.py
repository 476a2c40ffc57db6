"""Inference on a CPU: our exported files in their runtimes, and timm's.

.venv/bin/python benchmarks/inference.py --networks eca_nfnet_l0 --rounds 3
"""

import dataclasses
import os
import pathlib
import statistics
import subprocess
import tempfile
from dataclasses import dataclass

import contest
import tables
from contest import Contender


@dataclass(frozen=True)
class Network:
    """The same network of ours and of timm, and the side of its images."""

    ours: str
    timm: str
    size: int


NETWORKS = {
    "nfnet_f0": Network("dm_nfnet_f0", "dm_nfnet_f0", 256),
    "eca_nfnet_l0": Network("eca_nfnet_l0", "eca_nfnet_l0", 288),
    "nf_resnet50": Network("nf_resnet50_timm", "nf_resnet50", 288),
    "nf_regnet_b1": Network("nf_regnet_b1_timm", "nf_regnet_b1", 288),
}


def _runs_file(title, runtime, venv=".venv-timm", *options):
    """Returns a `Contender` that runs a file of `FILES` in a runtime."""
    options = ("--runtime", runtime, *options)
    return Contender(title, venv, "worker_file.py", options=options)


TIMMS = (".venv-timm", "--channels-first")
# ONNX Runtime and OpenVINO run ours and timm's in the same environment.
CONTENDERS = {
    "keras": contest.CONTENDERS["keras_nfnets"],
    "folded": contest.CONTENDERS["folded"],
    "onnx": _runs_file("ONNX Runtime", "onnx"),
    "timm_onnx": _runs_file("timm's ONNX, ONNX Runtime", "onnx", *TIMMS),
    "openvino": _runs_file("OpenVINO", "openvino"),
    "timm_openvino": _runs_file("timm's ONNX, OpenVINO", "openvino", *TIMMS),
    "litert": _runs_file("LiteRT", "litert", ".venv"),
    "timm": contest.CONTENDERS["timm"],
    "onnx_int8": _runs_file("ONNX Runtime, int8", "onnx"),
    "openvino_int8": _runs_file("OpenVINO, int8", "openvino"),
    "litert_int8": _runs_file("LiteRT, int8", "litert", ".venv"),
}
# The file that each of them runs.
FILES = {
    "onnx": "ours.onnx",
    "timm_onnx": "timm_{batch}.onnx",
    "openvino": "ours.onnx",
    "timm_openvino": "timm_{batch}.onnx",
    "litert": "ours.tflite",
    "onnx_int8": "ours_int8.onnx",
    "openvino_int8": "ours_int8.onnx",
    "litert_int8": "ours_int8.tflite",
}
# The rows that ours are divided by.
RIVALS = {"onnx": "timm_onnx", "openvino": "timm_openvino"}
COLUMNS = (
    "network",
    "batch",
    "by",
    "ms",
    "of timm's ONNX in that runtime",
    "of folded TensorFlow",
    "peak, GB",
    "file, MB",
)


def main():
    options = _options()
    rows, versions = [], {}
    for name in options.networks:
        network = NETWORKS[name]
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            _write_ours(network, folder, options)
            for batch in options.batch:
                _write_timms(network, batch, folder, options)
                workers = _run(network, batch, folder, options)
                rows += [
                    _row(name, batch, by, workers, folder) for by in workers
                ]
                for worker in workers.values():
                    versions |= worker.about["versions"]
        # Before the next network: if that fails, these rows are kept.
        tables.publish(_report(rows, versions, options), options.out)


def _options():
    parser = tables.parser(__doc__, rounds=7)
    parser.add_argument("--steps", type=int, default=5, help="per round")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS)
    )
    parser.add_argument(
        "--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS)
    )
    return parser.parse_args()


def _write_ours(network, folder, options):
    """Writes the files of ours that are asked for."""
    files = {FILES[name] for name in options.only if name in FILES}
    ours = sorted(file for file in files if file.startswith("ours"))
    if ours:
        arguments = (network.ours, network.size, folder, *ours)
        _work(".venv", "write_files.py", arguments, options)


def _write_timms(network, batch, folder, options):
    """Writes timm's ONNX for batches of a size, if it is asked for."""
    if set(RIVALS.values()) & set(options.only):
        file = folder / FILES["timm_onnx"].format(batch=batch)
        arguments = (network.timm, network.size, batch, file)
        _work(".venv-timm", "write_timm.py", arguments, options)


def _work(venv, script, arguments, options):
    """Runs a script of `workers/` in an environment, to its end."""
    print(f"{script} {' '.join(map(str, arguments))}", flush=True)
    python = contest.interpreter(venv, options.python)
    subprocess.run(
        [python, contest.WORKERS / script, *map(str, arguments)],
        check=True,
        env=os.environ | contest.TENSORFLOW,
    )


def _run(network, batch, folder, options):
    """Returns the workers of those contenders that are asked for."""
    job = contest.arguments("infer", network.ours, batch, network.size)
    entrants = {}
    for name in options.only:
        contender = CONTENDERS[name]
        if name in FILES:
            file = folder / FILES[name].format(batch=batch)
            more = ("--file", str(file))
            contender = dataclasses.replace(
                contender, options=contender.options + more
            )
        entrants[name] = contender, job
    return contest.measure(entrants, options)


def _row(name, batch, by, workers, folder):
    worker = workers[by]
    size = ""
    if by in FILES:
        file = folder / FILES[by].format(batch=batch)
        size = f"{file.stat().st_size / 1e6:.1f}"
    return [
        name,
        str(batch),
        CONTENDERS[by].title,
        f"{1000 * statistics.median(sum(worker.rounds, [])):.1f}",
        _ratio(worker, workers.get(RIVALS.get(by))),
        _ratio(worker, workers.get("folded")),
        tables.gigabytes(worker.peak),
        size,
    ]


def _ratio(worker, other):
    return tables.ratio(worker.rounds, other.rounds) if other else ""


def _report(rows, versions, options):
    sizes = ", ".join(
        f"{NETWORKS[name].ours} {NETWORKS[name].size}"
        for name in options.networks
    )
    listed = ", ".join(f"{name} {v}" for name, v in sorted(versions.items()))
    return [
        "# Inference on a CPU",
        "",
        "float32 except where int8 is named, 1000 classes, fixed data; sides "
        f"in pixels: {sizes}.",
        "timm's ONNX was written for the batch that it runs. Ours takes any "
        "batch;",
        "OpenVINO is told which one it will be.",
        *tables.conditions(options.rounds, options.steps),
        "",
        *tables.table(COLUMNS, rows),
        "",
        listed,
    ]


if __name__ == "__main__":
    main()
