"""The command for TPUs reads and reports right, and its compiler compiles."""

import importlib.util
import os
import subprocess
import sys
import types

import pytest
from helpers import BACKEND, ROOT

from keras_nfnets import cli
from keras_nfnets.cli import tpu as command
from keras_nfnets.tpu import compiling, report
from keras_nfnets.tpu import program as compiled

TOOL = ROOT / "tools" / "tpu_compile.py"
GIB = 2**30


@pytest.fixture
def libtpu(monkeypatch):
    """Whether libtpu is there or not, it is said to be."""
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: True)


def errors_of(capsys, *arguments):
    assert cli.main(["tpu-compile", "nfnet_pico", *arguments]) == 2
    return capsys.readouterr().err


def test_without_libtpu_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    error = errors_of(capsys)
    assert "jax, libtpu must be installed" in error
    assert "pip install 'keras-nfnets[jax,tpu-compile]'" in error


def test_unknown_topology_lists_those_known(libtpu, capsys):
    error = errors_of(capsys, "--topology", "v5e:9x9")
    assert "v5e:1x1, v5e:2x2" in error
    assert "Received: topology='v5e:9x9'" in error


@pytest.mark.parametrize("batch", ["0", "-4", "6"])
def test_batch_has_to_divide_into_devices(libtpu, capsys, batch):
    error = errors_of(capsys, "--topology=v5e:2x2", f"--batch={batch}")
    assert "multiple of the 4 device(s)" in error
    assert f"Received: batch={batch}" in error


def test_tensorflow_compiles_for_one_device(libtpu, capsys):
    arguments = "--backend", "tensorflow", "--topology", "v5e:2x2"
    assert "must have one device" in errors_of(capsys, *arguments)


@pytest.fixture
def options():
    given = ["tpu-compile", "nfnet_pico", "--size", "32"]
    return types.SimpleNamespace(**vars(cli._parser().parse_args(given)))


def test_unknown_variant_and_small_size_are_the_packages_errors(options):
    options.backend = BACKEND
    options.variant = "nfnet_picoo"
    with pytest.raises(ValueError, match="Did you mean 'nfnet_pico'"):
        compiling.build(options)
    options.variant, options.size = "nfnet_pico", 8
    with pytest.raises(ValueError, match="at least 32 pixels"):
        compiling.build(options)


# Two of a module that libtpu 0.0.52 compiled for v5e:2x2, shortened, and an
# asynchronous pair.
HLO = """
  %neg.140 = f32[]{:T(128)} negate(%all-reduce.69), metadata={op_name="neg"}
  %all-reduce.69 = f32[]{:T(128)} all-reduce(%gte.54), channel_id=70
  %all-reduce.71 = (bf16[]{:T(256)}, /*index=1*/bf16[3,3,3,16]{3,2,1,0:T(4,128)(2,1)S(1)}) all-reduce(%a, %b), channel_id=71
  %gte.137 = bf16[3,3,3,16]{3,2,1,0} get-tuple-element(%all-reduce.71), index=1
  %all-reduce-start.1 = f32[1000]{0} all-reduce-start(%fusion.1)
  %all-reduce-done.1 = f32[1000]{0} all-reduce-done(%all-reduce-start.1)
"""  # noqa: E501


def test_all_reduces():
    assert compiled.all_reduces(HLO) == (4, 2 + 2 * 3 * 3 * 3 * 16, 4000)
    assert compiled.all_reduces("ENTRY %main") == ()


GATHERS = """
  %all-gather.3 = bf16[128,8,8,16]{3,0,2,1} all-gather(%copy.5), dimensions={0}
  %ags = (f32[32]{0}, f32[128]{0}) all-gather-start(%p.1), dimensions={0}
  %agd = f32[128]{0} all-gather-done(%ags)
"""


def test_all_gathers():
    assert compiled.all_gathers(GATHERS) == (2 * 128 * 8 * 8 * 16, 4 * 128)
    assert compiled.all_gathers(HLO) == compiled.all_reduces(GATHERS) == ()


# The first is what libtpu 0.0.52 says, the second what XLA said before.
OUT_OF_MEMORY = {
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, "
    "the total memory required for HLO temporaries (27.03G) exceeds available "
    "HBM (15.75G). HLO module: jit_train_step.": (27.03 * GIB, 15.75 * GIB),
    "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.15G "
    "of 15.48G hbm. Exceeded hbm capacity by 4.67G.": (
        20.15 * GIB,
        15.48 * GIB,
    ),
}


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_out_of_memory(message):
    assert compiled.out_of_memory(message) == OUT_OF_MEMORY[message]


def test_other_errors_are_not_out_of_memory():
    assert compiled.out_of_memory("INVALID_ARGUMENT: 3.0G of 2.0G hbm") is None
    vmem = "RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used "
    assert compiled.out_of_memory(vmem + "20.00M of 16.00M") is None


def program(batch=32, **changes):
    sizes = dict(
        arguments=877_596_160,
        temporaries=1_405_452_288,
        peak=2_425_697_792,
        flops=1.318771884e12,
        accessed=26_819_047_424,
        all_reduces=(4, 142_988_000),
    )
    return compiled.Program(batch, **{**sizes, **changes})


def rows(table):
    first, second = (list(column.cells) for column in table.columns)
    return dict(zip(first, second, strict=True))


def test_table_of_a_program_that_fits(options):
    cells = rows(report.program_table(options, program(), {"weights": 286e6}))
    assert cells["fits"] == "yes"
    assert cells["  weights"] == "0.286 GB"
    assert cells["  padding"] == "0.592 GB"
    assert cells["temporaries"] == "1.405 GB"
    assert cells["peak"] == "2.426 GB, 14.1% of 17.180 GB"
    # 26.8 GB at 819 GB/s; 1.3 TFLOP at 197 TFLOP/s would take 6.7 ms.
    assert cells["time at peak rates"] == "32.75 ms or more, limited by memory"
    assert "all-reduces" not in cells
    computing = report.program_table(options, program(flops=1e14), {})
    assert "limited by computation" in rows(computing)["time at peak rates"]


def test_table_says_that_the_time_is_a_bound(options):
    caption = report.program_table(options, program(), {}).caption
    assert "bound" in caption and "not a measurement" in caption


def test_table_of_several_chips(options):
    options.topology = "v5e:2x2"
    cells = rows(report.program_table(options, program(), {}))
    assert cells["all-reduces"] == "2, 0.143 GB"
    assert cells["all-gathers"] == "none"
    one = report.program_table(options, program(all_gathers=(2e6,)), {})
    assert rows(one)["all-gathers"] == "1, 2.000 MB"


def test_cores_share_their_chip(options):
    options.topology = "v3:2x2"
    cells = rows(report.program_table(options, program(), {}))
    assert cells["peak"].endswith("of 17.180 GB")
    assert "all-reduces" in cells


def does_not_fit(batch=512):
    return compiled.DoesNotFit(batch, 27.03 * GIB, 15.75 * GIB)


def test_what_does_not_fit_is_a_table_and_status_1(libtpu, monkeypatch, capsys):
    def fail(model, options):
        raise does_not_fit()

    monkeypatch.setattr(compiling, "set_environment", lambda backend: None)
    monkeypatch.setattr(compiling, "build", lambda options: None)
    monkeypatch.setattr(compiling, "compile_for_tpu", fail)
    assert cli.main(["tpu-compile", "nfnet_pico", "--batch", "512"]) == 1
    printed = capsys.readouterr().out
    assert "no, 12.112 GB too much" in printed
    assert "batch 512" in printed


@pytest.mark.parametrize("largest", [8, 40, 64, 504, 512, 1000])
@pytest.mark.parametrize("start", [1, 32, 100])
def test_largest_batch(largest, start, capsys):
    tried = []

    def compile_batch(batch):
        tried.append(batch)
        if batch > largest:
            raise does_not_fit(batch)
        return program(batch)

    assert compiling.largest_batch(compile_batch, start, 8).batch == largest
    assert len(set(tried)) == len(tried) < 16
    assert all(batch % 8 == 0 for batch in tried)


def test_largest_batch_of_what_never_fits(capsys):
    def compile_batch(batch):
        raise does_not_fit(batch)

    with pytest.raises(compiled.DoesNotFit) as caught:
        compiling.largest_batch(compile_batch, 32, 8)
    assert caught.value.batch == 8


def test_copies_of_tensorflow_become_reshapes():
    line = "    %9 = mhlo.copy %8 : tensor<3x3xf32> loc(#loc1)"
    assert compiling.without_copies(line) == (
        "    %9 = stablehlo.reshape %8 : (tensor<3x3xf32>) -> "
        "tensor<3x3xf32> loc(#loc1)"
    )


def test_backend_is_that_of_keras():
    other = "tensorflow" if BACKEND == "jax" else "jax"
    with pytest.raises(ValueError, match=f"Received: backend='{other}'"):
        compiling.set_environment(other)


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu, the compiler for TPUs, is not installed",
)
@pytest.mark.skipif(
    BACKEND == "torch", reason="PyTorch's way to a TPU is not ours"
)
def test_inference_compiles_for_a_tpu():
    arguments = "nfnet_pico", "--inference", "--backend", BACKEND
    run = subprocess.run(
        [sys.executable, TOOL, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "fits" in run.stdout and "yes" in run.stdout
