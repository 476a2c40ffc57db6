"""Builds the networks as Keras models, and prepares images for them.

`nfnet` has the function `NFNet`, which builds every variant. `imagenet`
prepares pixels for published weights and names ImageNet's classes. `presets`
has `from_preset`, which finds weights by name and builds a `PresetModel` for
them; `preset_config` reads and writes what describes them.
"""
