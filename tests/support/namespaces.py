"""Machines on one machine: network namespaces on a bridge, each with a link whose rates tc's token buckets set. Root.

Everything lives in namespaces of its own, a hub with the bridge included: the host's network is not touched. The
process that makes them moves into the hub, from where it reaches all.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

_SUBNET = "10.213.77"
_CLONE_NEWNET = 0x40000000
_MTU_BYTES = 9000  # fewer packets, so that two cores can play nine machines
_libc = ctypes.CDLL(None, use_errno=True)


def why_no_namespaces() -> str:
    """Why this machine cannot; empty where it can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if missing := [tool for tool in ("ip", "tc") if shutil.which(tool) is None]:
        return f"needs {' and '.join(missing)} (apt-get install iproute2)"
    return ""


@dataclass
class Namespaces:
    """Use as a context manager, in a process that has no other threads yet. Hosts are numbered from 1."""

    hosts: int
    name: str = field(default_factory=lambda: f"warmset{os.getpid()}")

    def __enter__(self) -> Namespaces:
        self._before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def address(self, host: int) -> str:
        return f"{_SUBNET}.{host}"

    def command(self, host: int) -> list[str]:
        """What to put before a command so that it runs on a host; it keeps the process id."""
        return ["ip", "netns", "exec", self._host(host)]

    def shape(self, host: int, *, up: int, down: int) -> None:
        """Bytes per second that the host may send and receive; also while something is under way."""
        self._bucket(self._host(host), "eth0", up)
        self._bucket(self._hub, f"to{host}", down)

    def part(self, host: int, other: int) -> None:
        """Let nothing pass between two hosts from now on; they are told nothing."""
        for one, two in ((host, other), (other, host)):
            _run("ip", "-n", self._host(one), "route", "add", "blackhole", self.address(two))

    def heal(self, host: int, other: int) -> None:
        for one, two in ((host, other), (other, host)):
            _run("ip", "-n", self._host(one), "route", "del", "blackhole", self.address(two))

    @property
    def _hub(self) -> str:
        return f"{self.name}-hub"

    def _host(self, host: int) -> str:
        return f"{self.name}-{host}"

    def _make(self) -> None:
        _run("ip", "netns", "add", self._hub)
        _run("ip", "-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", self._hub, "addr", "add", f"{_SUBNET}.254/24", "dev", "bridge")
        for device in ("lo", "bridge"):
            _run("ip", "-n", self._hub, "link", "set", device, "up")
        for host in range(1, self.hosts + 1):
            name, port = self._host(host), f"to{host}"
            _run("ip", "netns", "add", name)
            _run("ip", "-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "-n", self._hub, "link", "set", port, "mtu", str(_MTU_BYTES), "master", "bridge", "up")
            _run("ip", "-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "mtu", str(_MTU_BYTES), "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
        descriptor = os.open(Path("/var/run/netns") / self._hub, os.O_RDONLY | os.O_CLOEXEC)
        _enter(descriptor)
        os.close(descriptor)

    def _remove(self) -> None:
        _enter(self._before)
        os.close(self._before)
        for name in (*map(self._host, range(1, self.hosts + 1)), self._hub):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def _bucket(self, namespace: str, device: str, rate: int) -> None:
        # A bucket of 20 ms: long enough for the kernel's timer, short beside what a transfer takes.
        burst = max(rate // 50, 4 * _MTU_BYTES)
        _run(
            *("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf"),
            *("rate", f"{rate}bps", "burst", str(burst), "latency", "100ms"),
        )


def _enter(descriptor: int) -> None:
    """Move the calling thread, and those that it starts (setns(2))."""
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
