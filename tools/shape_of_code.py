"""Prints how long files and functions are, and how much of them is prose.

python tools/shape_of_code.py [PACKAGE] [TESTS]

The row can be held against that of another library, whose folders it takes as
well. Lengths of functions are without their docstrings.
"""

import ast
import io
import pathlib
import statistics
import sys
import tokenize


def main(package="keras_nfnets", tests="tests"):
    sources = _read(package)
    functions = [f for tree, _ in sources for f in _functions(tree)]
    lengths = [_length(f) for f in functions]
    lines = [text.count("\n") for _, text in sources]
    docstrings = sum(_docstring_lines(tree) for tree, _ in sources)
    comments = sum(_comment_lines(text) for _, text in sources)
    filled = sum(
        1 for _, text in sources for x in text.split("\n") if x.strip()
    )
    code = filled - docstrings - comments
    test_lines = sum(text.count("\n") for _, text in _read(tests))
    raises = [r for tree, _ in sources for r in _raises(tree)]
    rows = {
        "file lines, median / max": _summary(lines, max(lines)),
        "function lines, median / p90 / max": _summary(
            lengths,
            round(statistics.quantiles(lengths, n=10)[-1]),
            max(lengths),
        ),
        "docstring share": f"{docstrings / sum(lines):.0%}",
        "private functions of more than ten lines without one": sum(
            f.name.startswith("_")
            and _length(f) > 10
            and ast.get_docstring(f) is None
            and not f.name.endswith("__")
            for f in functions
        ),
        "comments / code": f"{comments / code:.1%}",
        "test / source": f"{test_lines / sum(lines):.2f}",
        "raises echoing the value": f"{sum(raises) / len(raises):.0%}",
    }
    for name, value in rows.items():
        print(f"{name:55}{value}")


def _read(folder):
    """Returns the tree and the text of each module of a folder."""
    paths = sorted(pathlib.Path(folder).rglob("*.py"))
    texts = [path.read_text() for path in paths]
    return [(ast.parse(text), text) for text in texts if text.strip()]


def _functions(tree):
    kinds = ast.FunctionDef, ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _docstring(node):
    """Returns the expression that is a node's docstring, or None."""
    if ast.get_docstring(node, clean=False) is None:
        return None
    return node.body[0]


def _span(node):
    return node.end_lineno - node.lineno + 1


def _length(function):
    docstring = _docstring(function)
    return _span(function) - (_span(docstring) if docstring else 0)


def _docstring_lines(tree):
    """Counts the lines of all docstrings."""
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    found = [n for n in ast.walk(tree) if isinstance(n, kinds)]
    return sum(_span(_docstring(n)) for n in found if _docstring(n))


def _comment_lines(text):
    """Counts the lines that are comments as a whole."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(
        token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
        for token in tokens
    )


def _raises(tree):
    """Yields for each raise with a text whether it shows a value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            inside = list(ast.walk(node.exc))
            if any(
                isinstance(x, (ast.Constant, ast.JoinedStr)) for x in inside
            ):
                yield any(isinstance(x, ast.FormattedValue) for x in inside)


def _summary(values, *more):
    return " / ".join(f"{x:g}" for x in (statistics.median(values), *more))


if __name__ == "__main__":
    main(*sys.argv[1:])
