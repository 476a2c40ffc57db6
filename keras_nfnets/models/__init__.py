"""The networks as Keras models, and ImageNet's pixels and classes."""
