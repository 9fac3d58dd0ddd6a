"""Who the members of a stand-alone group are: listed one by one, the addresses of a name, or the nodes of a Slurm job.

    host:port              a member
    dns://name:port        every address of the name, once it has as many as are expected
    slurm://:port          every node of the job, from SLURM_JOB_NODELIST

Every member must come to the same list: who owns which chunk follows from it. So names are looked up at the start only.
"""

from __future__ import annotations

import itertools
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from api.errors import InvalidRequest

DNS = "dns://"
SLURM = "slurm://"
NODE_LIST = "SLURM_JOB_NODELIST"
LOOK_UP_S = 300.0  # how long a name may take to have all its addresses: pods of one set start minutes apart
AGAIN_S = 2.0
MAX_NODES = 65_536  # of a list: what a few characters can make
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")

Resolve = Callable[[str], Iterable[str]]


def expand(
    members: Iterable[str],
    *,
    expected: int,
    environ: Mapping[str, str],
    resolve: Resolve | None = None,
    wait_s: float = LOOK_UP_S,
) -> tuple[str, ...]:
    """``members`` as host:port, each once, sorted. ``expected`` is how many a name must have, 0 for those it has now.

    Raises InvalidRequest where a name has too few addresses in time, or there is no Slurm job.
    """
    found: set[str] = set()
    for member in members:
        if member.startswith(DNS):
            name, port = _name_and_port(member, DNS)
            look_up = resolve or addresses_of
            found |= {_joined(address, port) for address in _all_of(name, look_up, expected=expected, wait_s=wait_s)}
        elif member.startswith(SLURM):
            _, port = _name_and_port(member, SLURM)
            nodes = environ.get(NODE_LIST, "")
            if not nodes:
                raise InvalidRequest(f"{member}: {NODE_LIST} is not set", hint="start the agent within a Slurm job")
            found |= {_joined(host, port) for host in hosts(nodes)}
        else:
            found.add(member)
    return tuple(sorted(found))


def own(members: Iterable[str]) -> str:
    """The one member whose address this machine has. Raises InvalidRequest where there is none, or are several."""
    mine = [member for member in members if _is_here(member)]
    if len(mine) != 1:
        what = "none" if not mine else f"{len(mine)}"
        raise InvalidRequest(
            f"{what} of the group's members has an address of this machine", hint="name this one in 'peers.listen'"
        )
    return mine[0]


def hosts(text: str) -> list[str]:
    """The names of a Slurm node list such as ``rack[0-1]node[01-04,07],login``, in its order.

    Written after scontrol(1), "show hostnames": numbers keep their width. Raises InvalidRequest.
    """
    found: list[str] = []
    for part in _split(text):
        pieces = re.split(r"\[([^\[\]]*)\]", part)  # text, range, text, range, …, text
        if any(character in piece for piece in pieces[::2] for character in "[] \t"):
            raise InvalidRequest(f"not a list of nodes: {text[:80]!r}")
        choices = [[piece] if index % 2 == 0 else list(_numbers(piece)) for index, piece in enumerate(pieces)]
        for names in itertools.product(*choices):
            found.append("".join(names))
            if len(found) > MAX_NODES:
                raise InvalidRequest(f"a list of more than {MAX_NODES} nodes: {text[:80]!r}")
    return found


def addresses_of(name: str) -> list[str]:
    """As the system resolves it; none where it does not know the name."""
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except socket.gaierror:
        return []


def _split(text: str) -> Iterator[str]:
    """At the commas outside of brackets."""
    for part in re.split(r",(?![^\[]*\])", text):
        if not part:
            raise InvalidRequest(f"not a list of nodes: {text[:80]!r}")
        yield part


def _numbers(text: str) -> Iterator[str]:
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise InvalidRequest(f"not a range of numbers: {part[:40]!r}")
        first, last = match.group(1), match.group(2) or match.group(1)
        if int(last) < int(first) or int(last) - int(first) >= MAX_NODES:
            raise InvalidRequest(f"not a range of numbers: {part[:40]!r}")
        for number in range(int(first), int(last) + 1):
            yield str(number).zfill(len(first))


def _all_of(name: str, resolve: Resolve, *, expected: int, wait_s: float) -> set[str]:
    deadline = time.monotonic() + wait_s
    while True:
        found = set(resolve(name))
        if found and len(found) >= expected:
            return found
        if time.monotonic() >= deadline:
            raise InvalidRequest(
                f"{name} has {len(found)} addresses after {wait_s:.0f} s, not {max(1, expected)}",
                hint="set 'peers.expected' to the number of members, and look at the name",
            )
        time.sleep(AGAIN_S)


def _name_and_port(member: str, scheme: str) -> tuple[str, str]:
    name, _, port = member.removeprefix(scheme).rpartition(":")
    if not port.isdigit() or (scheme == DNS) is not bool(name):
        raise InvalidRequest(f"{member!r} is no member", hint=f"write {DNS}name:9820 or {SLURM}:9820")
    return name, port


def _joined(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_here(member: str) -> bool:
    """Can its address be bound? Whatever interface it belongs to."""
    host, _, _ = member.rpartition(":")
    for address in addresses_of(host.strip("[]")):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                continue
            return True
    return False
