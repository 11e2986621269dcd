"""Join: a reducer that joins the two inputs of a job by key. What a user writes; `dataflow.tasks.join_task` runs it."""

from __future__ import annotations

from mapreduce.errors import JobDefinitionError

JOINS = ("inner", "left", "right", "outer", "semi", "anti")
BROADCAST_JOINS = ("inner", "left", "semi", "anti")  # those that never emit a record of the right input alone
BROADCAST_BYTES = 256 << 20  # of the files of a broadcast input: as Python objects in every task process they take more


class Join:
    """Joins the two inputs of a step by key: `Job(inputs={"a": Input(f), "b": Input(g)}, reducer=Join("left"))`.

    The first input is the left one. For each key, with values in the order of the input, left before right:

    - inner: (key, (left, right)) for every pair of a left and a right value of the key;
    - left, right, outer: these, and the values of the left, the right, or either input whose key the other has not,
      as (key, (left, None)) and (key, (None, right));
    - semi: (key, left) for the left values whose key the right has; anti: those whose key it has not.

    None and NaN are keys like any other. Neither side has to fit in memory. With `broadcast` the right input is small:
    every task process loads it whole, and the left one is joined as it is read, without a shuffle.
    """

    def __init__(self, how: str = "inner", *, broadcast: bool = False) -> None:
        if how not in JOINS:
            msg = f"a join is one of {', '.join(JOINS)}, not {how!r}"
            raise JobDefinitionError(msg)
        if broadcast and how not in BROADCAST_JOINS:
            msg = (
                f"a {how} join cannot be broadcast: no task sees which right values stay alone. Leave broadcast out, "
                "or swap the inputs and write Join('left', broadcast=True)"
            )
            raise JobDefinitionError(msg)
        self.how = how
        self.broadcast = broadcast

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Join) and (other.how, other.broadcast) == (self.how, self.broadcast)

    def __hash__(self) -> int:
        return hash((self.how, self.broadcast))

    def __repr__(self) -> str:
        return f"Join({self.how!r}{', broadcast=True' if self.broadcast else ''})"
