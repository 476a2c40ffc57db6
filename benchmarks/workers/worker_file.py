"""An exported file in its runtime: ONNX Runtime, OpenVINO or LiteRT.

Neither Keras nor keras_nfnets is imported. All use as many threads as there are
cores.
"""

import argparse
import os
import sys

import worker

parser = argparse.ArgumentParser(add_help=False)
parser.add_argument("--file", required=True)
parser.add_argument("--runtime", required=True, help="key of `RUNTIMES`")
parser.add_argument("--channels-first", action="store_true")
own, sys.argv[1:] = parser.parse_known_args()
job = worker.job()
CORES = len(os.sched_getaffinity(0))


def onnx(path):
    with worker.timed("import"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    with worker.timed("build"):
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    (tensor,) = session.get_inputs()
    return (
        lambda x: session.run(None, {tensor.name: x}),
        {"onnxruntime": onnxruntime.__version__},
    )


def openvino(path):
    with worker.timed("import"):
        import openvino
    settings = {
        # It would choose bfloat16 on CPUs that have it.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": CORES,
        "PERFORMANCE_HINT": "LATENCY",
    }
    with worker.timed("build"):
        core = openvino.Core()
        model = core.read_model(path)
        # For a free batch it fuses less.
        model.reshape(list(images.shape))
        model = core.compile_model(model, "CPU", settings)
    request = model.create_infer_request()
    return (
        lambda x: request.infer([x], share_inputs=True),
        {"openvino": openvino.__version__.partition("-")[0]},
    )


def litert(path):
    with worker.timed("import"):
        import tensorflow
    with worker.timed("build"):
        interpreter = tensorflow.lite.Interpreter(path, num_threads=CORES)
        index = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(index, images.shape)
        interpreter.allocate_tensors()
    (output,) = interpreter.get_output_details()

    def run(x):
        interpreter.set_tensor(index, x)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"])

    return run, {"tensorflow": tensorflow.__version__}


RUNTIMES = {"onnx": onnx, "openvino": openvino, "litert": litert}
images, _ = worker.data(job)
if own.channels_first:
    images = images.transpose(0, 3, 1, 2).copy()
run, versions = RUNTIMES[own.runtime](own.file)
worker.serve(job, lambda: run(images), parameters=0, versions=versions)
