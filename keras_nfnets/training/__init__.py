"""A training step: AGC, SAM, optimizers, losses and distribution."""
