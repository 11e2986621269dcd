"""Syntax trees of sources, also where several threads ask for them at once."""

from __future__ import annotations

import ast
import threading

# Before Python 3.11.5 threads that make trees at the same time disturb each other: "AST constructor recursion depth
# mismatch" (python/cpython issue 106905).
_one_at_a_time = threading.Lock()


def tree_of(source: str | bytes) -> ast.Module:
    """The syntax tree of a module's source. Raises SyntaxError, and ValueError for null bytes."""
    with _one_at_a_time:
        return ast.parse(source)
