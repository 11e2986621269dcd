"""What must hold of the simulated cluster at every step, and at its end."""

from simulated_agent import FAULTS_S
from simulated_killers import killers_of

from mapreduce.coordinator.entries import Committed, JobEnded, JobMoved, Restarted, Revoked
from mapreduce.plan import AttemptId, FailureKind, TaskKind

QUIET_S = 6.0  # after faults and jobs: for what was lost to be noticed, and for the last word of stopped attempts


class Checks:
    """The part of a simulation that judges: safety at every step; at the end counters, inputs, and that all is free."""

    def check_previous(self, attempt, previous):
        shapes = self.specs[attempt.task.job].steps[: attempt.task.step]
        expected = tuple({"tasks": s.maps + s.reduces} if s.maps + s.reduces else {} for s in shapes)
        assert previous == expected

    def check(self, entry):
        match entry:
            case Committed(attempt, worker):
                assert (worker, attempt) in self.made, f"{attempt} is no success of {worker}"
                assert attempt.task not in self.commits, f"two commits of {attempt.task}"
                assert attempt.number not in self.last_commits.get(attempt.task, ()), "an attempt number is used again"
                self.commits[attempt.task] = attempt.number
                self.last_commits.setdefault(attempt.task, set()).add(attempt.number)
            case Revoked(attempt):
                assert self.commits.pop(attempt.task) == attempt.number
            case Restarted():
                assert self.wild, "deterministic results were taken for different ones"
            case JobMoved(job, "kept") | JobEnded(job, "done"):
                self.check_what_was_read(job)

    def check_results_are_held(self):
        """What a task will read is on a worker that is not given up, or is being made again."""
        for run in self.core.core.runs.values():
            stages = run.record.stages
            for number, stage in enumerate(stages):
                for index, commit in stage.commits.items() if run.record.is_held(number) else ():
                    if commit.worker not in self.core.core.durable.workers:
                        assert number < run.record.final, f"{run.record.task(number, index)} is lost, and to be kept"
                        reader = stages[number + 1]
                        needed = (
                            not reader.is_whole if run.record.reads_all(number + 1) else index not in reader.commits
                        )
                        assert not needed, f"{run.record.task(number, index)} is lost, and will be read"
                        assert index in run.lost[number]

    def check_what_was_read(self, job):
        """Every result of the job is made of the current results before it, and of no others.

        Kept ones may be on their way again, or have made their job fail because they differ each time.
        """
        for task, number in self.commits.items():
            for source, content in self.read[AttemptId(task, number)].items() if task.job == job else ():
                if source.task.job != job and (source.task not in self.commits or self.has_failed(source.task.job)):
                    continue
                now = self.content[AttemptId(source.task, self.commits[source.task])]
                place = task.index if task.kind is TaskKind.REDUCE else 0
                assert now[place] == content, f"{task} has read what {source} made, which is no longer true"

    def has_failed(self, job):
        return self.core.core.durable.jobs[job].state == "failed"

    def check_all_is_free(self):
        """When all is over, every slot is free again, and the agents have forgotten the jobs."""
        while self.now < FAULTS_S:
            self.step()
        end = max(self.now, *(agent.paused_until for agent in self.agents)) + QUIET_S
        while self.now < end:
            self.step()
        for worker in self.core.core.roster.workers.values():
            assert not worker.busy, f"{worker.id} has slots that no attempt gives back: {worker.busy}"
        for agent in self.agents:
            assert not agent.kept, f"{agent.worker} keeps results of jobs that are over: {agent.kept}"
            assert not agent.holds_jobs(), f"{agent.worker} holds jobs that are over"

    def check_end(self):
        for job, spec in self.specs.items():
            record = self.core.core.durable.jobs.get(job)
            if record is None and self.is_over(job):
                continue
            run = self.core.core.runs.get(job)
            detail = (record.state, run and (run.frontier, run.running, run.prepared, run.waiting))
            if record.failure is not None:  # four full disks in a row are a fair end
                wild = self.wild and "is not deterministic" in record.failure.message
                gone = any(map(self.has_failed, spec.reads)) and "kept result" in record.failure.message
                fair = {FailureKind.DISK} if self.killing else {FailureKind.DISK, FailureKind.DIED}
                assert wild or gone or record.failure.kind in fair, record.failure
                continue
            assert record.state == "done", detail
            taken = {AttemptId(task, number) for task, number in self.commits.items()} & self.reused
            assert record.reused_maps == sum(attempt.task.job == job for attempt in taken)
            counted = [c.values.get("tasks", 0) for c in record.counted]
            expected = [s.maps + s.reduces for s in spec.steps]
            expected[-1] += not spec.keep  # the job commit
            assert counted == expected, "each committed attempt counts once"
            if self.killing:
                tasks = [task for task in self.commits if task.job == job]
                killed = sum(len(killers_of(task)) for task in tasks)
                assert sum(record.bad.kinds.values()) == killed, "each record that kills is put aside once"
        assert self.replayed().to_plain() == self.core.core.durable.to_plain()
