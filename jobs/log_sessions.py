"""Access log of a web server -> visits: the requests of one client, cut where it was away for half an hour.

The log is in the Common or the Combined format (Apache, nginx). A client is an address with a user agent. Its requests
come to the reducer in the order of time, by a secondary sort, however many there are and in whichever files they lie.
Visits that only drew errors go to the output `failed` besides. Lines that are no log lines are counted.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone

from mapreduce import Context, Job

LINE = re.compile(
    r"(?P<address>\S+) \S+ .*?\[(?P<time>[^\]]+)\] "
    r'"(?P<method>[A-Z]+) (?P<path>\S+)[^"]*" (?P<status>\d{3}) (?P<bytes>\d+|-)'
    r'(?: "[^"]*" "(?P<agent>[^"]*)")?'
)
MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
ERRORS = 400  # and above: the statuses of requests that failed

Request = tuple[int, str, int, int]  # seconds since 1970, path, status, bytes


def seconds(text: str) -> int:
    """Read a time such as `17/May/2015:10:05:03 +0000`; not by strptime, whose months depend on the locale."""
    day, month, rest = text.split("/")
    year, hour, minute, second = map(int, rest[:13].split(":"))
    zone = rest[14:]
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
    local = timezone(-offset if zone[0] == "-" else offset)
    when = datetime(year, MONTHS.index(month) // 3 + 1, int(day), hour, minute, second, tzinfo=local)
    return int(when.timestamp())


def requests(line: str, *, ctx: Context) -> Iterator[tuple[tuple[str, str], Request]]:
    """Yield a request under its client."""
    found = LINE.match(line)
    if found is None:
        ctx.counters["lines that are no log lines"] += 1
        return
    size = 0 if found["bytes"] == "-" else int(found["bytes"])
    yield (found["address"], found["agent"] or ""), (seconds(found["time"]), found["path"], int(found["status"]), size)


def by_time(request: Request) -> int:
    """Order a client's requests by time; those of the same second stay in the order of the log."""
    return request[0]


def visits(
    client: tuple[str, str], requests: Iterable[Request], *, ctx: Context, gap_minutes: int = 30
) -> Iterator[tuple[str, dict[str, object]]]:
    """Cut a client's requests where the gap is too long; one visit at a time is in memory."""
    visit: dict[str, object] = {}
    last = errors = hits = size = 0

    def ended() -> tuple[str, dict[str, object]]:
        visit.update(seconds=last - start, requests=hits, bytes=size, errors=errors)
        if errors == hits:
            ctx.outputs["failed"].write(client[0], visit)
        return client[0], visit

    start = 0
    for time, path, status, nbytes in requests:
        if hits and time - last > 60 * gap_minutes:
            yield ended()
            errors = hits = size = 0
        if not hits:
            start = time
            visit = {"began": datetime.fromtimestamp(time, UTC).isoformat(), "first": path}
        last, hits, size, errors = time, hits + 1, size + nbytes, errors + (status >= ERRORS)
    yield ended()


job = Job(mapper=requests, reducer=visits, sort_values=by_time, outputs={"failed": "jsonl"}, output="jsonl")
