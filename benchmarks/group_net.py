"""Where a benchmark's group lives: on loopback with limits in the programs, or in namespaces with limited links."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from demo.group import Agent, Process, free_port
from tests.support.exchange_group import make_key
from tests.support.namespaces import Namespaces

SLOW_SHARE = 0.1  # of a unit: what a slow uplink has


class Loopback:
    """The origin limits what it sends in all, and each node what it takes in; what nodes send is not limited."""

    name = "loopback"
    can_slow_uplinks = False

    def __init__(self, stack: ExitStack, folder: Path, *, rate: int) -> None:
        self._rate = rate
        self.origin = f"127.0.0.1:{free_port()}"
        self._agent = partial(Agent, folder=folder, origin=self.origin)
        self.origin_process = Process(
            ["demo.origin", str(folder / "origin"), self.origin.rpartition(":")[2], str(rate)],
            log=folder / "origin.log",
        )
        stack.callback(self.origin_process.stop)

    def begin(self, nodes: int) -> list[str]:
        """New links for so many nodes; returns their addresses."""
        return [f"127.0.0.1:{free_port()}" for _ in range(nodes)]

    def agent(self, name: str, number: int, *, source: str, group: Sequence[str], listen: str) -> Agent:
        return self._agent(name, source=source, listen=listen, group=group, limit=self._rate)

    def slow_uplink(self, number: int) -> None:
        raise NotImplementedError


class Shaped:
    """Host 1 is the origin and node ``n`` host ``n + 2``. Every link carries one unit in each direction, over TLS."""

    name = "namespaces"
    can_slow_uplinks = True

    def __init__(self, stack: ExitStack, folder: Path, *, rate: int, nodes: int) -> None:
        self._rate = rate
        self._net = stack.enter_context(Namespaces(nodes + 1))
        self._key_file = make_key(folder / "group.key")
        host = self._net.address(1)
        self.origin = f"{host}:5000"
        self._agent = partial(Agent, folder=folder, origin=self.origin)
        self.origin_process = Process(
            ["demo.origin", str(folder / "origin"), "5000", "0", host],
            log=folder / "origin.log",
            within=self._net.command(1),
        )
        stack.callback(self.origin_process.stop)

    def begin(self, nodes: int) -> list[str]:
        """New links for so many nodes; returns their addresses."""
        for host in range(1, nodes + 2):
            self._net.shape(host, up=self._rate, down=self._rate)
        return [f"{self._net.address(number + 2)}:9820" for number in range(nodes)]

    def agent(self, name: str, number: int, *, source: str, group: Sequence[str], listen: str) -> Agent:
        status, within = f"{self._net.address(number + 2)}:9810", self._net.command(number + 2)
        key_file = self._key_file
        return self._agent(
            name, source=source, listen=listen, group=group, status=status, key_file=key_file, within=within
        )

    def slow_uplink(self, number: int) -> None:
        self._net.shape(number + 2, up=int(self._rate * SLOW_SHARE), down=self._rate)


Net = Loopback | Shaped
