"""Attempts that are to stop, and those that a process has left: who waits again, and who is no more. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mapreduce.plan import AttemptId
from mapreduce.protocol.messages import AttemptDone
from workers.agent_attempts import Running
from workers.agent_events import DeleteAttempt, Effect, TakeBack, TakenBack
from workers.agent_line import Line
from workers.agent_outcomes import Outcomes
from workers.agent_pool import Pool, Role, TaskProcess
from workers.task_messages import TaskDone


class Stopping:
    """Stops attempts. `running` has all that are under way; `output` gives a job's output folder."""

    def __init__(
        self,
        running: dict[AttemptId, Running],
        line: Line,
        pool: Pool,
        outcomes: Outcomes,
        output: Callable[[str], str],
    ) -> None:
        self._running = running
        self._line = line
        self._pool = pool
        self._outcomes = outcomes
        self._output = output

    def stop(self, running: Running) -> list[Effect]:
        """Stop an attempt that waits or runs; it goes when it has stopped."""
        running.cancelled = True
        process = self._pool.get(running.process)
        if process is None:
            return self.stopped(running)
        if process.role is Role.DYING:
            return []
        # Another of those that it was handed may be at work: it is asked what it has not begun.
        return [TakeBack(process.number)] if process.behind else self.kill_at_hand(process, running)

    def kill_at_hand(self, process: TaskProcess, running: Running) -> list[Effect]:
        """Kill the process that is at work on an attempt which is to stop."""
        del self._running[running.attempt]
        process.stopped = running.attempt
        return self._pool.kill(process, drop=running.attempt)  # deleted when it is dead: until then it may write

    def stopped(self, running: Running) -> list[Effect]:
        """An attempt that was cancelled is no more, and writes no more: say so."""
        attempt = running.attempt
        del self._running[attempt]
        left: list[Effect] = []
        if running.again:
            left.append(DeleteAttempt(attempt, self._output(attempt.task.job)))
        return left + self._outcomes.say_stopped(attempt)

    def taken_back(self, event: TakenBack) -> list[Effect]:
        """What a process had not begun waits again, or has stopped."""
        process = self._pool.get(event.process)
        if process is None or process.role is not Role.RUNNING:
            return []
        process.at = event.at
        effects = self.wait_again(process.take_back(event.first)) if event.first else []
        running = self._running.get(process.at_hand) if process.at_hand else None
        if process.attempt is None:
            effects += self._pool.release(process)
        elif running is not None and running.cancelled:  # others that are, and are through, are told soon
            effects += self.kill_at_hand(process, running)
        return effects

    def wait_again(self, attempts: Sequence[AttemptId]) -> list[Effect]:
        """Put attempts that have no process any more back into the line, but for those that were to stop."""
        effects: list[Effect] = []
        back: list[AttemptId] = []
        for attempt in attempts:
            running = self._running.get(attempt)
            if running is None:  # of a job that is over
                effects += self._outcomes.say_stopped(attempt)
            elif running.cancelled:
                effects += self.stopped(running)
            else:
                back.append(attempt)
        self._line.put_back(back)
        return effects

    def done(self, one: TaskDone) -> list[Effect]:
        """An attempt was done: tell, but where it was to stop, before that was known here."""
        running = self._running[one.attempt]
        if running.cancelled:
            running.again = True  # it has made something
            return self.stopped(running)
        del self._running[one.attempt]
        return self._outcomes.finish(running, AttemptDone(one.attempt, one.done))
