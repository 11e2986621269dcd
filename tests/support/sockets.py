"""Which sockets processes have, by /proc: the inodes of their descriptors among the kernel's tables."""

import contextlib
import ipaddress
import re
from pathlib import Path

LISTENING = "0A"


def _inodes(pid):
    found = set()
    with contextlib.suppress(OSError):  # it has ended
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed while we looked
                match = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
                if match:
                    found.add(match.group(1))
    return found


def _address(text):
    """An address as the kernel writes it: words of 32 bits in the processor's order, in hexadecimal."""
    raw = bytes.fromhex(text)
    words = [raw[start : start + 4][::-1] for start in range(0, len(raw), 4)]
    return str(ipaddress.ip_address(b"".join(words)))


def internet_sockets(pids, *, listening=False):
    """{(table, address, port)} of all TCP and UDP sockets that these processes hold; or those that listen, of TCP."""
    inodes = set().union(*map(_inodes, pids))
    found = set()
    for table in ("tcp", "tcp6") if listening else ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").split("\n")[1:-1]:
            fields = line.split()
            if fields[9] in inodes and (not listening or fields[3] == LISTENING):
                address, _, port = fields[1].partition(":")
                found.add((table, _address(address), int(port, 16)))
    return found


def unix_paths(pids):
    """The paths of all bound unix sockets that these processes hold."""
    inodes = set().union(*map(_inodes, pids))
    lines = Path("/proc/net/unix").read_text(encoding="utf-8").split("\n")[1:-1]
    return {Path(fields[7]) for fields in map(str.split, lines) if len(fields) > 7 and fields[6] in inodes}
