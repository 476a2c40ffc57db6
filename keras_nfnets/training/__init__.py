"""A training step: AGC, SAM, optimizers, losses and distribution.

Adaptive gradient clipping (AGC) is spread over these modules:

- `agc` has its settings. `unitwise` has its arithmetic, on lists of gradients.
- A unit is the set of weights that is clipped together. `unit_axes` finds the
  units of a layer's variables, and `unit_layout` arranges them for `unitwise`.
- `agc_optimizer` gives AGC to an optimizer, by `agc_step`, which derives the
  optimizer's class. `agc_rules` holds its settings and units.
- `agc_report` and `agc_layers` keep means of the clipped fraction.

`sam` has the settings and the arithmetic of sharpness-aware minimization, and
`perturbed` enters it into a step of Keras. `model` brings both to `fit`, and
`compiled` saves them with a model. `optimizers`, `losses` and `distribution`
stand by themselves. `docs/STEP.md` lists the calls of one step in order.
"""
