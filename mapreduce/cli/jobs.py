"""Looking at a coordinator's jobs and workers, and stopping a job."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from mapreduce.cli import EXIT_JOB_FAILED
from mapreduce.cli.cluster import tell_detached
from mapreduce.cli.options import address_option, example, json_option


@click.command(epilog=example("mapreduce jobs"))
@address_option
@json_option
def jobs(*, address: str, as_json: bool) -> None:
    """List the jobs that the coordinator knows, newest last."""
    from mapreduce.runners.cluster import list_jobs  # noqa: PLC0415 - imports the sockets, which --help has no use for

    found = list_jobs(address)
    if as_json:
        _print_json([_plain(job) for job in found])
        return
    if not found:
        click.echo(f"the coordinator at {address} has no jobs yet", err=True)
        return
    rows = [("ID", "STATE", "MAPS", "REDUCES", "TIME", "SUBMITTED", "OUTPUT")]
    for job in found:
        maps = f"{sum(s.maps_done for s in job.steps)}/{sum(s.shape.maps for s in job.steps)}"
        reduces = f"{sum(s.reduces_done for s in job.steps)}/{sum(s.shape.reduces for s in job.steps)}"
        rows.append((job.job, job.state, maps, reduces, _time(job.elapsed_s), _when(job.submitted_ms), job.output))
    _print_table(rows)


@click.command(epilog=example("mapreduce status last", "mapreduce status word_count-2026 --json"))
@click.argument("job", metavar="ID")
@address_option
@json_option
@click.option("--wait", is_flag=True, help="Show its progress until it ends, as `submit` does.")
def status(*, job: str, address: str, as_json: bool, wait: bool) -> None:
    """Show one job: progress, waits, failure.

    ID is a job's id, a unique beginning of one, or `last`.
    """
    from mapreduce.failed.advice import advice  # noqa: PLC0415 - as above
    from mapreduce.progress import display_for, summary  # noqa: PLC0415 - as above
    from mapreduce.runners.cluster import follow, get_status  # noqa: PLC0415 - as above
    from mapreduce.runners.local import failure_of  # noqa: PLC0415 - as above

    now = get_status(address, job)
    if wait:
        display = display_for(sys.stderr)
        try:
            now = follow(address, now.job, display)
        except KeyboardInterrupt:
            display.close()
            tell_detached(now.job, address)
            raise
        finally:
            display.close()
    if as_json:
        _print_json(_plain(now))
    else:
        print("\n".join(summary(now, now.elapsed_s, now.output)))
        for number, step in enumerate(now.steps, 1):
            running = f", {step.maps_running + step.reduces_running} running" if now.state == "running" else ""
            title = f" ({step.shape.title})" if step.shape.title else ""
            print(
                f"  step {number}{title}: map {step.maps_done}/{step.shape.maps}, "
                f"reduce {step.reduces_done}/{step.shape.reduces}{running}"
            )
        if now.attempts_failed:
            print(f"  attempts failed so far: {now.attempts_failed}")
        if now.waiting_for:
            print(f"  waiting for {now.waiting_for}")
        if now.failure is not None:
            print("\n".join(filter(None, [failure_of(now, now.failure).describe(), advice(now.job)])))
    if wait and now.state != "done":
        sys.exit(EXIT_JOB_FAILED)


@click.command(epilog=example("mapreduce logs last"))
@click.argument("job", metavar="ID")
@address_option
@json_option
def logs(*, job: str, address: str, as_json: bool) -> None:
    """Show what a job's functions printed."""
    from mapreduce.runners.cluster import get_logs, get_status  # noqa: PLC0415 - as above

    entries = get_logs(address, get_status(address, job).job)
    if as_json:
        _print_json(
            [{"task": str(e.attempt.task), "attempt": e.attempt.number, "text": e.text} for e in entries],
        )
        return
    for entry in entries:
        sys.stdout.write(entry.text)


@click.command(epilog=example("mapreduce cancel last"))
@click.argument("job", metavar="ID")
@address_option
@json_option
def cancel(*, job: str, address: str, as_json: bool) -> None:
    """Stop a job and remove what it has written so far."""
    from mapreduce.client_state import ENDED_STATES  # noqa: PLC0415 - as above
    from mapreduce.runners.cluster import cancel_job, get_status  # noqa: PLC0415 - as above

    before = get_status(address, job)
    ended = cancel_job(address, before.job)
    if as_json:
        _print_json(_plain(ended))
    elif before.state in ENDED_STATES:
        print(f"{ended.job}: had ended already ({ended.state})")
    else:
        print(f"{ended.job}: {ended.state}")


@click.command(epilog=example("mapreduce workers"))
@address_option
@json_option
def workers(*, address: str, as_json: bool) -> None:
    """List the workers that the coordinator has."""
    from mapreduce.runners.cluster import list_workers  # noqa: PLC0415 - as above

    found = list_workers(address)
    if as_json:
        _print_json([_plain(worker) for worker in found])
        return
    if not found:
        click.echo(f"no worker has registered: start one with `mapreduce worker --coordinator {address}`", err=True)
        return
    rows = [("NAME", "SLOTS", "RUNNING", "LAST HEARD", "ADDRESS", "VERSIONS", "NOTE")]
    for worker in found:
        versions = " ".join(f"{name} {version}" for name, version in sorted(worker.versions.items()))
        heard = f"{worker.silent_s:.1f} s ago"
        facts = (str(worker.slots), str(len(worker.running)), heard, worker.shuffle_address, versions, worker.note)
        rows.append((worker.name, *facts))
    _print_table(rows)


def _plain(message: Any) -> dict[str, Any]:
    return dataclasses.asdict(message)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_bytes_as_hex))


def _bytes_as_hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    msg = f"{type(value).__name__} in an answer"
    raise TypeError(msg)


def _time(seconds: float) -> str:
    from mapreduce.progress import duration  # noqa: PLC0415 - as above

    return duration(seconds)


def _when(submitted_ms: int) -> str:
    if not submitted_ms:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(submitted_ms / 1000))


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
