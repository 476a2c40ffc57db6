"""Writes folded Keras models as ONNX files.

The package `onnx` alone is needed, on every Keras backend: neither tf2onnx nor
another converter takes part. `file` is the format that
`keras_nfnets.export.export` calls. It asks `write` for a file, and `quantize`
for an 8-bit one. `write` folds the model (`keras_nfnets.export.folding`) and
has `walk` call its layers one by one. For every layer `converters` names the
function that adds its nodes to a `graph.Graph`; `operations` does the same for
operations of `keras.ops`.
"""
