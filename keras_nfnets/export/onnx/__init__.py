"""ONNX files of folded Keras models, with no converter of others."""
