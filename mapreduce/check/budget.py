"""The time that the trials of a check may take: people wait for it, and a slow job must not make that minutes."""

from __future__ import annotations

# Of all trials, by the clock of their tasks alone: with processes to start, which takes seconds on a busy machine and
# is no matter of the job, a check takes some ten seconds.
BUDGET_S = 8.0


class Budget:
    """The seconds that are left for trials, and what there was no time for.

    Attributes: `left_s`, and `left_out`, the checks that were not made, in words.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """Begin with so many seconds, by default with BUDGET_S."""
        self.left_s = BUDGET_S if seconds is None else seconds
        self.left_out: list[str] = []

    def spend(self, seconds: float) -> None:
        """Note that a trial has taken so long."""
        self.left_s -= seconds

    def affords(self, seconds: float, what: str = "") -> bool:
        """Whether there is time for trials of so many seconds. Where there is none `what` is left out."""
        if seconds <= self.left_s:
            return True
        if what and what not in self.left_out:
            self.left_out.append(what)
        return False
