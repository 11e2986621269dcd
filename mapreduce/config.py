"""Limits and timings of the control plane, units in the names, each with its reason; checked together at import.

Sizes that shape a job's data (buffers, blocks) are `plan.Limits`: they belong to the job.
"""

from __future__ import annotations

HEARTBEAT_S = 1.0  # often enough that three can be lost within a lease
LEASE_S = 8.0  # a silent host is given up within 10 s, tick included; busy 2-core machines stall for 2-3 s at times
TICK_S = 0.25  # how often the coordinator looks at its leases: small beside LEASE_S
REGISTER_RETRY_S = 0.5  # an agent asks again for a session: quick, since a start-up waits for it
WATCH_LEASE_S = 6.0  # a client that has not said Watch for so long gets no more status
WATCH_RENEW_S = 2.0  # so that two renewals may be lost
STATUS_EVERY_S = 0.2  # a watcher's status at most so often while a job runs: people see no more
CLIENT_RETRY_S = 1.0  # a request without an answer is sent again: a coordinator answers within milliseconds
CLIENT_SILENCE_S = 15.0  # then the client says that the coordinator is silent, and keeps trying
CLIENT_CONNECT_S = 5.0  # a first contact: then "no coordinator at ..." (a restart takes 1-2 s)

CONTROL_FRAME_BYTES = 256 << 10  # a control frame: small, so that none holds up a heartbeat
BLOB_PIECE_BYTES = 192 << 10  # fits a control frame with its envelope
BLOB_BYTES = 256 << 20  # the largest blob: a plan of 200,000 files takes 20 MB, so this is generous
AHEAD_PER_SLOT = 16  # short attempts that wait on a worker for one slot: they hide the way there and a disk's commit
AHEAD_S = 0.05  # of work that waits for a slot: nobody notices when it would have begun sooner elsewhere
TAKE_BACK_S = 1.0  # what has waited so long behind an attempt that takes longer than its job's others goes elsewhere
RESULTS_PER_MESSAGE = 200  # sources in one Results: about 500 bytes each with long paths and types

USER_ATTEMPTS = 2  # the user's exception, in different processes: the second tells chance from a bug
USER_ATTEMPTS_LOCAL = 1  # in `run`: a person waits for the traceback
DIED_ATTEMPTS = 4  # death of the process: as in Hadoop (mapreduce.map.maxattempts), the neighbours may be at fault
LOST_ATTEMPTS = 100  # a lost agent or input is not the task's fault; bounded all the same
DISK_ATTEMPTS = 4  # a full disk on one worker may not be full on the next

COUNTERS = 500  # names of user counters in a job: with COUNTER_NAME_CHARS they fit a control frame
COUNTER_NAME_CHARS = 100
WARNINGS = 50  # kept for a job; a warning repeated by every task is kept once
WARNING_CHARS = 500
FAILURE_TEXT_CHARS = 16_000  # each text of a Failure: a traceback of ours is 2-5 KB; ten of them fit a control frame
RECORD_CHARS = 500  # a record or key shown in an error
STDERR_TAIL_LINES = 20  # the last lines of a dead process's output, shown with its death
LOG_BYTES_PER_ATTEMPT = 64 << 10  # of what user code prints, kept at the coordinator; a chatty loop must not fill it
LOG_BYTES_PER_JOB = 4 << 20

KEPT_IDLE_S = 3600.0  # then a kept result that nobody reads ends: people come back from lunch, dead clients do not
SAVED_DAYS = 7  # that a failed job's map results are kept: what fails on Friday night is looked at by Monday
SAVED = "saved"  # the folder for them, in a worker's scratch folder
JOBS_REMEMBERED = 1000  # ended jobs that `jobs` lists
SNAPSHOT_ENTRIES = 5000  # journal entries between snapshots: a replay of so many takes well under a second
SNAPSHOT_TIMES = 2  # as many entries as commits: jobs that only grow never get there, and a replay takes twice as long
FETCH_PIECE_BYTES = 1 << 20  # what one fetch request asks for at most: a block
FETCH_CREDIT_BYTES = 16 << 20  # asked for and not yet arrived, in one task: fills a 1 Gbit/s link at 100 ms
FETCH_TIMEOUT_S = 20.0  # without any byte from a shuffle server: outlasts a lease, so a dead agent is known first
CTRL_C_S = 2.0  # after Ctrl-C everything is gone within this time

DEFAULT_LISTEN = "tcp://127.0.0.1:5555"

if not 3 * HEARTBEAT_S < LEASE_S < CLIENT_SILENCE_S < FETCH_TIMEOUT_S:
    msg = "a lease must outlast three heartbeats, and be shorter than what waits for its end"
    raise ValueError(msg)
if BLOB_PIECE_BYTES >= CONTROL_FRAME_BYTES or COUNTERS * (COUNTER_NAME_CHARS + 10) >= CONTROL_FRAME_BYTES:
    msg = "a piece of a blob, or a job's counters, must fit a control frame"
    raise ValueError(msg)
