"""Compiles a network's step for a TPU that is not there: does it fit?

What is compiled is what `model.fit` runs: forward and backward pass, AGC, SGD
with Nesterov momentum and L2, EMA; or what `model.predict` runs. The compiler
is that of the `libtpu` wheel and needs no TPU. `compiling` makes the program,
`program` reads its sizes, and `report` shows them beside those of `chips`.
"""
