"""The agent's end of its task processes: sockets, log pipes, and the fork server that starts and reaps them.

Owns descriptors and their lives; decides nothing. All it learns becomes events for the agent's state.
"""

from __future__ import annotations

import codecs
import logging
import os
import select
import socket
from dataclasses import field

from mapreduce.errors import MapReduceError, WireError
from mapreduce.quick_dataclass import dataclass
from workers import life
from workers.agent_events import Event, ProcessAt, ProcessEnded, ProcessPrinted, ProcessSaid, TakenBack
from workers.marks import read_mark, read_place, read_turn, shared_memory
from workers.start import Process, start_fork_server, wait_or_kill
from workers.task_link import AgentLink
from workers.task_messages import Doing, Ended, Fork, Forked, FromTask, Kill, RunEach, ToTask
from workers.turns import Turns

LOG_READ_BYTES = 64 << 10  # read from one log pipe in one turn: a pipe's capacity on Linux
LAST_READS = 16  # of a dead process's log pipe: what it and its children wrote may be more than a pipe holds
RESTARTS = 5  # of the fork server: it runs no user code, so that more deaths mean that the machine is in trouble
FORK_SERVER_EXIT_S = 0.4  # for killing its children and leaving; well within config.CTRL_C_S

log = logging.getLogger("mapreduce.worker")


@dataclass(slots=True)
class Handle:
    """One task process: its socket and the read end of its log pipe, and the other ends until it has them.

    `marks` is the memory in which it notes what it is at work on.
    """

    process: int
    link: AgentLink
    logs: int
    marks: int
    turns: Turns
    theirs: list[int]
    pid: int = 0
    decoder: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))


class Processes:
    """All task processes of an agent, by number."""

    def __init__(self, worker: str, name: str, server: Process, control: socket.socket) -> None:
        self._worker, self._name = worker, name
        self._server = server
        self._control = control
        self._link = AgentLink(control)
        self._handles: dict[int, Handle] = {}
        self._restarts = 0

    # --------------------------------------------------------------------------------------- orders

    def start(self, process: int) -> None:
        """Have a task process forked. It may be told things at once: they wait in its socket."""
        ours, theirs = socket.socketpair()
        logs, log_end = os.pipe()
        os.set_blocking(logs, False)
        marks, turns = shared_memory(), Turns()
        self._handles[process] = Handle(process, AgentLink(ours), logs, marks, turns, [theirs.detach(), log_end])
        self._link.send(Fork(process), [*self._handles[process].theirs, marks, turns.reading])

    def kill(self, process: int) -> None:
        """Have a task process killed, with its group."""
        self._link.send(Kill(process))

    def tell(self, process: int, message: ToTask) -> None:
        """Send a message to a task process; lost if it is gone, which is reported anyway."""
        handle = self._handles.get(process)
        if handle is None:
            return
        if isinstance(message, RunEach):
            handle.turns.give(range(message.first, message.first + len(message.attempts)))
        handle.link.send(message)

    def take_back(self, process: int) -> list[Event]:
        """Take back the turns that a task process has not begun; nothing to say of one that is gone."""
        handle = self._handles.get(process)
        if handle is None:
            return []
        first = handle.turns.take_back()  # before it is asked where it is: no turn can begin in between
        return [TakenBack(process, first, read_turn(handle.marks))]

    # --------------------------------------------------------------------------------------- polling

    @property
    def control(self) -> AgentLink:
        """The fork server's link."""
        return self._link

    def links(self) -> dict[int, tuple[int, AgentLink]]:
        """The open links of all task processes, by descriptor."""
        return {h.link.fileno(): (h.process, h.link) for h in self._handles.values() if h.link.open}

    def log_fds(self) -> dict[int, int]:
        """The task processes whose log pipes are open, by descriptor."""
        return {h.logs: h.process for h in self._handles.values() if h.logs >= 0}

    # --------------------------------------------------------------------------------------- news

    def read_link(self, process: int) -> list[Event]:
        """What a task process has said. What it printed before comes first."""
        handle = self._handles[process]
        try:
            messages = handle.link.receive()
        except WireError as error:  # user code wrote to our socket: the process can't be trusted any more
            log.warning("task process %d: %s", process, error)
            self.kill(process)
            return []
        if not messages:
            return []
        said: list[Event] = [ProcessSaid(process, message) for message in messages if isinstance(message, FromTask)]
        return self.read_log(process) + said

    def read_log(self, process: int) -> list[Event]:
        """Some of what a task process has printed, at most LOG_READ_BYTES."""
        handle = self._handles[process]
        if handle.logs < 0:
            return []
        if not _has_data(handle.logs):
            return []
        # Before it is read: as long as there is something, the process begins no other attempt.
        turn = read_turn(handle.marks)
        data = os.read(handle.logs, LOG_READ_BYTES)
        if not data:
            os.close(handle.logs)
            handle.logs = -1
        text = handle.decoder.decode(data, final=not data)
        return [ProcessAt(process, turn), ProcessPrinted(process, text)] if text else []

    def read_control(self) -> list[Event]:
        """What the fork server has reported. If it is gone, so are all task processes, and another is started."""
        events: list[Event] = []
        for message in self._link.receive():
            if isinstance(message, Forked):
                self._forked(message)
            elif isinstance(message, Ended):
                events += self._ended(message.process, message.error or life.describe_end(message.status))
        if not self._link.open:
            events += self._server_lost()
        return events

    def stop(self) -> None:
        """Kill all task processes and end the fork server."""
        self._link.close()
        wait_or_kill(self._server, FORK_SERVER_EXIT_S)
        for process in list(self._handles):
            self._close(process)

    # --------------------------------------------------------------------------------------- inside

    def _forked(self, message: Forked) -> None:
        handle = self._handles.get(message.process)
        if handle is not None:
            handle.pid = message.pid
            self._close_theirs(handle)

    def _ended(self, process: int, how: str) -> list[Event]:
        handle = self._handles.get(process)
        if handle is None:
            return []
        place = read_place(handle.marks)
        events: list[Event] = [ProcessAt(process, read_turn(handle.marks))]
        events += [] if place is None else [ProcessSaid(process, Doing(0, 0, *place))]
        while handle.link.open:  # to its end: an outcome that was sent before the death counts
            more = self.read_link(process)
            if not more and handle.link.open:
                break  # something that it started holds the other end
            events += more
        for _ in range(LAST_READS):
            more = self.read_log(process)
            if not more:
                break
            events += more
        mark = read_mark(handle.marks)
        self._close(process)
        return [*events, ProcessEnded(process, how, mark)]

    def _server_lost(self) -> list[Event]:
        code = wait_or_kill(self._server, FORK_SERVER_EXIT_S)
        self._restarts += 1
        if self._restarts > RESTARTS:
            msg = f"the fork server died {self._restarts} times, the last time with code {code}; see its last output"
            raise MapReduceError(msg)
        log.warning("the fork server died (code %d): starting another", code)
        for handle in self._handles.values():
            if handle.pid:
                life.kill_rest_of_group(handle.pid)  # what user code started; the processes themselves died with it
        events = [
            event for process in list(self._handles) for event in self._ended(process, f"fork server gone ({code})")
        ]
        self._control.close()
        self._server, self._control = start_fork_server(self._worker, self._name)
        self._link = AgentLink(self._control)
        return events

    def _close(self, process: int) -> None:
        handle = self._handles.pop(process)
        handle.link.close()
        self._close_theirs(handle)
        os.close(handle.marks)
        handle.turns.close()
        if handle.logs >= 0:
            os.close(handle.logs)

    def _close_theirs(self, handle: Handle) -> None:
        for fd in handle.theirs:
            os.close(fd)
        handle.theirs.clear()


def _has_data(pipe: int) -> bool:
    """Whether reading gives something at once, be it the end."""
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    return bool(poller.poll(0))
