"""Four stand-alone agents as processes of their own, and what they report."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MODEL = "sample"
# The caches go with their folder: they may use what is free, also on a disk that is nearly full.
FULL_DISK = {"high": 0.995, "low": 0.99, "inodes_high": 0.995, "inodes_low": 0.99}


@dataclass(frozen=True)
class NodeView:
    """What one agent says at one moment. Sizes in bytes."""

    name: str
    state: str
    tree: str = ""
    done: int = 0
    total: int = 0
    origin: int = 0
    peers: int = 0
    reason: str = ""

    @property
    def ready(self) -> bool:
        return self.state == "Ready"


class Process:
    """A child in the demo's folder, its output in a log file; ended by its own id."""

    def __init__(self, arguments: Sequence[str], *, log: Path, within: Sequence[str] = ()) -> None:
        """``within`` is a command that runs another in its place, such as one that enters a namespace."""
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*within, sys.executable, "-m", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt reaches the demo alone, which ends them in order
            )
        self.log = log

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        return self._child.poll() is not None

    @property
    def cpu_s(self) -> float:
        """Processor time so far, while it runs (proc(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def stop(self) -> None:
        if not self.ended:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()


class Agent(Process):
    """``listen`` is where it serves the others, ``status`` where it says how far it is; each host:port.

    ``group`` are all members, by their domains where it is a mapping.
    """

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        source: str,
        origin: str,
        listen: str,
        group: Sequence[str] | Mapping[str, Sequence[str]],
        status: str = "",
        limit: int | None = None,
        key_file: Path | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.root = folder / name / "cache"
        self._status = status or f"127.0.0.1:{free_port()}"
        members: dict[str, Any] = {"members": list(group)}
        if isinstance(group, Mapping):
            members = {"domains": {domain: list(listed) for domain, listed in group.items()}}
        config = folder / name / "agent.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(
            yaml.safe_dump(
                {
                    "root": str(self.root),
                    "node": name,
                    "listen": self._status,
                    "models": [{"name": MODEL, "source": source}],
                    "plain_http": [origin],
                    "limits": {"download_bytes_per_second": limit},
                    "watermarks": FULL_DISK,
                    "peers": {
                        "listen": listen,
                        **members,
                        **({"key_file": str(key_file)} if key_file else {"without_security": True}),
                    },
                }
            )
        )
        super().__init__(["cli.main", "agent", "--config", str(config)], log=folder / f"{name}.log", within=within)

    def view(self) -> NodeView:
        if self.ended:
            return NodeView(self.name, "Ended", reason=f"see {self.log}")
        try:
            said = get_json(f"http://{self._status}/v1/status")
        except OSError:
            return NodeView(self.name, "Starting")
        model = next(iter(said.get("models", [])), None)
        if model is None:
            return NodeView(self.name, "Starting")
        return NodeView(
            self.name,
            model["state"],
            tree=model.get("tree", ""),
            done=model.get("bytesDone", 0),
            total=model.get("bytesTotal", 0),
            origin=model.get("bytesOrigin", 0),
            peers=model.get("bytesPeers", 0),
            reason=": ".join(filter(None, [model.get("reason", ""), model.get("message", "")])),
        )


def get_json(url: str) -> dict[str, Any]:
    # The demo's servers are on loopback: a proxy of the environment must not be asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        said: dict[str, Any] = json.load(answer)
        return said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment_without_proxies() -> None:
    """Keep the children off any proxy, too: all their traffic is on loopback."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
