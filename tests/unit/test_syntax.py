"""Syntax trees where several threads ask for them."""

import ast
import inspect
from concurrent.futures import ThreadPoolExecutor

from mapreduce.syntax import tree_of


def test_threads_do_not_disturb_each_other():
    """Trees made by many threads at once are those made by one."""
    source = inspect.getsource(ast)
    wanted = ast.dump(tree_of(source))
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(lambda _: tree_of(source), range(40)))
    assert {ast.dump(tree) for tree in trees} == {wanted}
