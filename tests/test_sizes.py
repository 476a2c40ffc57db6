"""Modules and functions stay short enough to be read at once."""

import ast

from test_layering import MODULES, parse

LONGEST_MODULE, LONGEST_FUNCTION = 300, 40
# Longer ones, each with the reason.
LONG_MODULES = {
    "layers.block": "every argument of the block, three times",
    "layers.convolution": "Section 4 of the paper and every argument of Conv2D",
}
_ARGUMENTS = "a line for each argument, in the signature and in the body"
LONG_FUNCTIONS = {
    "layers.block:__init__": _ARGUMENTS,
    "layers.convolution:__init__": _ARGUMENTS,
    "layers.convolution_1d_3d:__init__": _ARGUMENTS,
    "layers.head:__init__": _ARGUMENTS,
    "layers.transposed_and_depthwise:__init__": _ARGUMENTS,
}


def lines_of_code(function):
    """How many lines a function has, without its docstring."""
    count = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        count -= docstring.end_lineno - docstring.lineno + 1
    return count


def functions():
    """Yields each function's name, with its module, and its length."""
    for module in MODULES:
        for node in ast.walk(parse(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}:{node.name}", lines_of_code(node)


def test_docstrings_are_not_counted():
    code = 'def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'
    assert lines_of_code(ast.parse(code).body[0]) == 2


def test_modules_are_short():
    lengths = {
        name: path.read_text("utf-8").count("\n")
        for name, path in MODULES.items()
    }
    long = {n: k for n, k in lengths.items() if k > LONGEST_MODULE}
    assert long.keys() == LONG_MODULES.keys(), long


def test_functions_are_short():
    long = {n: k for n, k in functions() if k > LONGEST_FUNCTION}
    assert long.keys() == LONG_FUNCTIONS.keys(), long
