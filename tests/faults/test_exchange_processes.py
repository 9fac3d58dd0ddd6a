"""Whole agents that share a pull: one is killed, stopped, or cut off from some of the others.

The origin sends so slowly that a fault surely meets the pull under way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.group import Agent, Process, free_port, get_json
from tests.support.exchange_group import make_key
from tests.support.namespaces import Namespaces, why_no_namespaces

MIB = 1 << 20
SIZE = 24 * MIB
ORIGIN_BYTES_PER_SECOND = 4 * MIB
WITHIN_S = 90.0


@dataclass
class Origin:
    address: str
    content: dict[str, bytes]
    source: str = ""

    @property
    def copies(self) -> float:
        sent: int = get_json(f"http://{self.address}/stats")["bytes_sent"]
        return sent / SIZE


def start_origin(stack: ExitStack, folder: Path, *, host: str, within: Sequence[str] = ()) -> Origin:
    origin = Origin(f"{host}:{free_port()}", {"model.safetensors": os.urandom(SIZE), "config.json": b"{}"})
    process = Process(
        ["demo.origin", str(folder / "origin"), origin.address.rpartition(":")[2], str(ORIGIN_BYTES_PER_SECOND), host],
        log=folder / "origin.log",
        within=within,
    )
    stack.callback(process.stop)
    wait(lambda: answers(origin.address), what="the origin")
    (folder / "model").mkdir()
    for name, data in origin.content.items():
        (folder / "model" / name).write_bytes(data)
    tag = f"oci://{origin.address}/faults/model:v1"
    command = [sys.executable, "-m", "cli.main", "push", str(folder / "model"), tag, "--plain-http"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    origin.source = f"{tag}@{get_json(f'http://{origin.address}/stats')['manifest']}"
    return origin


def answers(address: str) -> bool:
    try:
        get_json(f"http://{address}/stats")
    except OSError:
        return False
    return True


def wait(check: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not check():
        assert time.monotonic() < deadline, f"{what} did not come within {WITHIN_S:.0f} s"
        time.sleep(0.05)


def half_through(agent: Agent) -> bool:
    return agent.view().done > SIZE / 2


def warm(agents: Sequence[Agent]) -> Callable[[], bool]:
    return lambda: all(agent.view().ready for agent in agents)


def check_bytes(agents: Sequence[Agent], content: dict[str, bytes]) -> None:
    for agent in agents:
        tree = agent.root / "trees" / agent.view().tree.removeprefix("sha256:")
        assert {path.name: path.read_bytes() for path in tree.iterdir()} == content


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")


def on_loopback(stack: ExitStack, folder: Path) -> tuple[Origin, list[Agent]]:
    origin = start_origin(stack, folder, host="127.0.0.1")
    group = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    agents = []
    for number, listen in enumerate(group):
        agent = Agent(
            f"node-{number}", folder=folder, source=origin.source, origin=origin.address, listen=listen, group=group
        )
        stack.callback(agent.stop)
        agents.append(agent)
    return origin, agents


def in_namespaces(stack: ExitStack, folder: Path, net: Namespaces) -> tuple[Origin, list[Agent]]:
    """The origin on host 1, an agent on every other."""
    key_file = make_key(folder / "group.key")
    origin = start_origin(stack, folder, host=net.address(1), within=net.command(1))
    hosts = range(2, net.hosts + 1)
    group = [f"{net.address(host)}:9820" for host in hosts]
    agents = []
    for host, listen in zip(hosts, group, strict=True):
        agent = Agent(
            f"node-{host}",
            folder=folder,
            source=origin.source,
            origin=origin.address,
            listen=listen,
            group=group,
            status=f"{net.address(host)}:9810",
            key_file=key_file,
            within=net.command(host),
        )
        stack.callback(agent.stop)
        agents.append(agent)
    return origin, agents


def in_two_racks(stack: ExitStack, folder: Path) -> tuple[Origin, list[Agent], list[Agent]]:
    """The second rack reads from the first."""
    origin = start_origin(stack, folder, host="127.0.0.1")
    racks = {rack: [f"127.0.0.1:{free_port()}" for _ in range(size)] for rack, size in (("r1", 4), ("r2", 2))}
    agents = []
    for number, listen in enumerate(member for members in racks.values() for member in members):
        agent = Agent(
            f"node-{number}", folder=folder, source=origin.source, origin=origin.address, listen=listen, group=racks
        )
        stack.callback(agent.stop)
        agents.append(agent)
    return origin, agents[:4], agents[4:]


def test_two_racks_take_one_copy(stack: ExitStack, tmp_path: Path) -> None:
    origin, first, second = in_two_racks(stack, tmp_path)
    wait(warm([*first, *second]), what="the end of the pull")
    check_bytes([*first, *second], origin.content)
    assert origin.copies <= 1.4  # some chunks twice, while their starts are seconds apart
    assert all(agent.view().origin < 0.1 * SIZE for agent in second)


def test_a_rack_whose_source_is_killed_half_way_reads_the_rest_from_the_origin(
    stack: ExitStack, tmp_path: Path
) -> None:
    origin, first, second = in_two_racks(stack, tmp_path)
    wait(lambda: half_through(second[0]), what="half of the pull")
    for agent in first:
        agent.kill()
    wait(warm(second), what="the end of the pull")
    check_bytes(second, origin.content)
    assert origin.copies <= 1.8


def test_a_member_that_is_killed_costs_the_others_little(stack: ExitStack, tmp_path: Path) -> None:
    origin, agents = on_loopback(stack, tmp_path)
    wait(lambda: half_through(agents[0]), what="half of the pull")
    agents[-1].kill()
    wait(warm(agents[:-1]), what="the end of the pull")
    check_bytes(agents[:-1], origin.content)
    assert origin.copies <= 1.4


def test_a_member_that_is_stopped_is_done_without_and_ends_warm_when_it_goes_on(
    stack: ExitStack, tmp_path: Path
) -> None:
    origin, agents = on_loopback(stack, tmp_path)
    wait(lambda: half_through(agents[0]), what="half of the pull")
    os.kill(agents[-1].pid, signal.SIGSTOP)
    stack.callback(lambda: agents[-1].ended or os.kill(agents[-1].pid, signal.SIGCONT))
    wait(warm(agents[:-1]), what="the end of the others' pull")
    assert origin.copies <= 1.4
    os.kill(agents[-1].pid, signal.SIGCONT)
    wait(warm(agents), what="the end of the stopped one's pull")
    check_bytes(agents, origin.content)
    assert origin.copies <= 1.6


@pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces())
def test_two_members_that_cannot_reach_each_other_get_all_by_way_of_the_third(stack: ExitStack, tmp_path: Path) -> None:
    net = stack.enter_context(Namespaces(4))
    net.part(2, 3)
    origin, agents = in_namespaces(stack, tmp_path, net)
    wait(warm(agents), what="the end of the pull")
    check_bytes(agents, origin.content)
    assert origin.copies <= 2.0  # alone, each would take one


@pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces())
def test_members_that_lose_the_origin_and_each_other_go_on_when_either_is_back(
    stack: ExitStack, tmp_path: Path
) -> None:
    net = stack.enter_context(Namespaces(3))
    origin, agents = in_namespaces(stack, tmp_path, net)
    wait(lambda: half_through(agents[0]), what="half of the pull")
    for pair in ((1, 2), (1, 3), (2, 3)):
        net.part(*pair)
    time.sleep(4)  # longer than a peer may be silent
    assert not any(agent.view().ready for agent in agents)
    for pair in ((1, 3), (2, 3)):  # the first reaches nobody but the second from now on
        net.heal(*pair)
    wait(warm(agents), what="the end of the pull")
    check_bytes(agents, origin.content)
    assert origin.copies <= 1.5
