"""Describes the networks as data: their table, their plan, and their cost.

`variant` defines the fields of a network, and `table` lists all networks, one
row each. `plan` turns a row into the arguments of its blocks, with the
constants of signal propagation. `complexity` counts parameters and
multiply-adds from a row; `published` and `listing` say which networks have
published weights. Nothing here needs Keras.
"""
