"""Builds the networks as Keras models, and prepares images for them.

`nfnet` has the function `NFNet`, which builds every variant. `imagenet`
prepares pixels for published weights and names ImageNet's classes.
"""
