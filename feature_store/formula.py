"""A formula of the field: an arithmetic expression over a Task's fields, read from its text and never executed as code.

Numbers, + - * / **, comparisons, `and`, `or`, `not`, `a if b else c`, and log (natural), exp, sqrt, abs, min, max.
A flag counts as 0 or 1, a date as days since 1970-01-01; a category may be compared with a word: `sex == 'male'`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import reduce

import numpy as np

_FUNCTIONS: dict[str, tuple[Callable[..., np.ndarray], int | None]] = {
    "log": (np.log, 1),
    "exp": (np.exp, 1),
    "sqrt": (np.sqrt, 1),
    "abs": (np.abs, 1),
    "min": (lambda *values: reduce(np.minimum, values), None),
    "max": (lambda *values: reduce(np.maximum, values), None),
}
"""Name -> what it does, and how many arguments it takes (None: two or more)."""

_BINARY: dict[type[ast.operator], np.ufunc] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
_COMPARE: dict[type[ast.cmpop], np.ufunc] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_PLAIN = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Constant)
_SIGNS = (*_BINARY, *_COMPARE, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or, ast.Load)
_DEEPEST = 150
"""Expressions inside expressions; each costs some of Python's own stack."""


def problems(text: str, kinds: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong with a formula, and what to do about it; nothing where `evaluate` can read it.

    kinds: the type of each field by its name: number, category, flag or date.
    """
    try:
        tree = _parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
        yield f"{text[:60]!r} is no expression: {why}.", "Write arithmetic over fields, `10 ** (1.3 + 0.04 * ac)`."
        return
    if _depth(tree) > _DEEPEST:
        yield "is nested too deeply.", f"Keep to {_DEEPEST} expressions inside each other."
        return
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    words = set(_words(tree, kinds))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _call(node)
        elif isinstance(node, ast.Name) and id(node) not in functions | words:
            yield from _name(node.id, kinds)
        elif isinstance(node, ast.Constant) and id(node) not in words:
            yield from _constant(node.value)
        elif not isinstance(node, _PLAIN + _SIGNS):
            yield f"{ast.unparse(node)[:60] or type(node).__name__!r} is not allowed.", "Use + - * / ** and functions."


def evaluate(text: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) float64 values of a formula without `problems`; NaN where a field that it names is unknown.

    columns: as `offline.columns`, each (n,). Not finite where a logarithm of 0, say, was asked.
    """
    tree = _parse(text)
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & set(columns)
    n = len(next(iter(columns.values())))
    with np.errstate(all="ignore"):
        value = np.broadcast_to(np.asarray(_value(tree.body, columns), dtype=np.float64), n).copy()
    for name in named:
        column = columns[name]
        value[np.array([word is None for word in column]) if column.dtype == object else np.isnan(column)] = np.nan
    return value


def _parse(text: str) -> ast.Expression:
    return ast.parse(f"({text}\n)", mode="eval")


def _depth(tree: ast.AST) -> int:
    """Without recursion, which is what it guards."""
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _words(tree: ast.AST, kinds: Mapping[str, str]) -> Iterator[int]:
    """The nodes of comparisons of a category with a word, which alone may hold either."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            name, word = node.left, node.comparators[0]
            known = isinstance(name, ast.Name) and kinds.get(name.id) == "category"
            if known and isinstance(word, ast.Constant) and isinstance(word.value, str):
                yield id(name)
                yield id(word)


def _name(name: str, kinds: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if name in _FUNCTIONS:
        yield f"{name} is a function.", f"Call it: `{name}(...)`."
    elif name not in kinds:
        close = get_close_matches(name, list(kinds), n=1)
        yield f"there is no field {name!r}.", f"Did you mean {close[0]!r}?" if close else "Name one of the fields."
    elif kinds[name] == "category":
        yield f"{name!r} is a category, which has no value.", f"Compare it with a word: `{name} == 'word'`."


def _constant(value: object) -> Iterator[tuple[str, str]]:
    try:
        fine = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(float(value))
    except OverflowError:
        fine = False
    if not fine:
        yield f"{str(value)[:40]!r} is no number.", "Words stand in comparisons with a category only: `sex == 'male'`."


def _call(node: ast.Call) -> Iterator[tuple[str, str]]:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)[:40]
    if name not in _FUNCTIONS:
        yield f"{name!r} is no function here.", f"There are {', '.join(_FUNCTIONS)}."
    elif node.keywords or (len(node.args) < 2 if _FUNCTIONS[name][1] is None else len(node.args) != 1):
        yield f"{name} takes {'two values or more' if _FUNCTIONS[name][1] is None else 'one value'}.", "Mend the call."


def _value(node: ast.expr, columns: Mapping[str, np.ndarray]) -> np.ndarray | np.float64:
    """The value of one expression; truth is 1.0 and 0.0."""
    match node:
        case ast.Constant(value=value):
            return np.float64(value)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return columns[name]
        case ast.BinOp(left=left, op=op, right=right):
            return np.asarray(_BINARY[type(op)](_value(left, columns), _value(right, columns)))
        case ast.UnaryOp(op=op, operand=operand):
            inner = np.asarray(_value(operand, columns))
            return np.asarray(inner == 0, dtype=np.float64) if isinstance(op, ast.Not) else _sign(op) * inner
        case ast.BoolOp(op=op, values=values):
            truths = [np.asarray(_value(part, columns) != 0, dtype=np.float64) for part in values]
            return np.asarray(reduce(np.minimum if isinstance(op, ast.And) else np.maximum, truths))
        case ast.Compare():
            return _compared(node, columns)
        case ast.IfExp(test=test, body=body, orelse=other):
            return np.where(_value(test, columns) != 0, _value(body, columns), _value(other, columns))
        case ast.Call(func=ast.Name(id=name), args=args):
            return np.asarray(_FUNCTIONS[name][0](*(_value(part, columns) for part in args)))
    raise ValueError(f"{ast.unparse(node)} is not allowed in a formula. See `problems`.")


def _sign(op: ast.unaryop) -> float:
    return -1.0 if isinstance(op, ast.USub) else 1.0


def _compared(node: ast.Compare, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """`a < b < c`, or a category and a word."""
    first = node.comparators[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str) and isinstance(node.left, ast.Name):
        same = np.array([word == first.value for word in columns[node.left.id].tolist()], dtype=np.float64)
        return same if isinstance(node.ops[0], ast.Eq) else 1.0 - same
    values = [_value(part, columns) for part in (node.left, *node.comparators)]
    steps = zip(node.ops, values[:-1], values[1:], strict=True)
    return np.asarray(
        reduce(np.minimum, [np.asarray(_COMPARE[type(op)](a, b), dtype=np.float64) for op, a, b in steps])
    )
