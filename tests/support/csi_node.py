"""A node for CSI tests: a private mount namespace with a kubelet folder in it, and drivers that run there.

A process that sleeps holds the namespace, so that mounts outlive a driver that is killed, as on a node. The test sees
the namespace through /proc/<holder>/root and /proc/<holder>/mountinfo. When the holder ends, every mount is gone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
import pytest

from api import keys
from csi.mountinfo import Mount, parse_mountinfo
from csi.proto import csi_pb2, csi_pb2_grpc

MODEL = "team-a/llama"
NAMESPACE = "team-a"
FILES = {"config.json": b"{}", "weights/model.safetensors": b"0123456789"}


def why_no_mounts() -> str:
    """Why mount tests cannot run here, or nothing."""
    if os.geteuid() != 0:
        return "mounting needs root: run pytest as root (the mounts stay in a private namespace)"
    missing = [tool for tool in ("unshare", "nsenter") if shutil.which(tool) is None]
    return f"{', '.join(missing)} not found: install util-linux" if missing else ""


@dataclass
class CsiNode:
    """Paths of one node below ``folder``, and the process that holds its namespace."""

    folder: Path
    name: str = "node-1"
    holder: subprocess.Popen[bytes] | None = None
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def kubelet(self) -> Path:
        return self.folder / "kubelet"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def agent_socket(self) -> Path:
        return self.folder / "agent.sock"

    @property
    def endpoint(self) -> Path:
        return self.folder / "csi.sock"

    @property
    def log(self) -> Path:
        return self.folder / "driver.log"

    @property
    def enter(self) -> list[str]:
        """What goes before a command that is to run in the namespace."""
        assert self.holder is not None
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt"]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Make the namespace; <kubelet>/pods is a shared mount, as on a node. The agent makes the cache."""
        (self.kubelet / "pods").mkdir(parents=True)
        script = 'mount --bind "$0" "$0" && mount --make-shared "$0" && echo ready && exec sleep 600'
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, str(self.kubelet / "pods")]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        for process in (*self.drivers, self.holder):
            if process is not None:
                with suppress(ProcessLookupError):
                    process.kill()
                process.wait()
        if self.holder is not None and self.holder.stdout is not None:
            self.holder.stdout.close()

    async def start_driver(self, *options: str, first: str = "") -> subprocess.Popen[bytes]:
        """Run `warmset csi` in the namespace, and wait until it says that it is ready.

        ``first`` is Python that the process runs before: a test takes a safeguard out with it.
        """
        self.endpoint.unlink(missing_ok=True)  # so that waiting cannot meet an earlier driver's socket
        command = [*self.enter, sys.executable, "-c", f"{first}\nfrom cli.main import main\nmain()"]
        command += ["csi", "--node", self.name, "--endpoint", f"unix://{self.endpoint}", "--root", str(self.cache)]
        command += ["--agent-socket", str(self.agent_socket), "--kubelet-root", str(self.kubelet), *options]
        root = Path(__file__).parents[2]
        with self.log.open("ab") as log:
            # nsenter changes to the namespace's root folder; Python finds the packages all the same.
            environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
            driver = subprocess.Popen(command, stderr=log, env=environment)
        self.drivers.append(driver)
        async with asyncio.timeout(90), self.channel() as channel:
            while True:
                assert driver.poll() is None, self.log.read_text()[-2000:]
                with suppress(grpc.aio.AioRpcError):
                    answer = await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest(), timeout=2)
                    if answer.ready.value:
                        return driver
                await asyncio.sleep(0.05)

    def channel(self) -> grpc.aio.Channel:
        options = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 50)]
        return grpc.aio.insecure_channel(f"unix:{self.endpoint}", options=options)

    def mounts(self) -> list[Mount]:
        """What is mounted below kubelet's pods folder, and so what pods would see."""
        assert self.holder is not None
        found = parse_mountinfo(Path(f"/proc/{self.holder.pid}/mountinfo").read_bytes())
        return [mount for mount in found if mount.point.startswith(f"{self.kubelet}/pods/")]

    def inside(self, path: Path) -> Path:
        """A path as processes of the namespace see it."""
        assert self.holder is not None
        return Path(f"/proc/{self.holder.pid}/root") / path.relative_to("/")

    def pod(self, *, volume: str = "weights") -> Pod:
        """A new pod for which kubelet has made the volume's folder."""
        pod = Pod(uid=str(uuid.uuid4()), kubelet=self.kubelet, volume=volume)
        pod.target.parent.mkdir(parents=True)
        return pod


@dataclass(frozen=True)
class Pod:
    """kubelet's side of one inline volume."""

    uid: str
    kubelet: Path
    volume: str

    @property
    def target(self) -> Path:
        return self.kubelet / "pods" / self.uid / "volumes" / "kubernetes.io~csi" / self.volume / "mount"

    def publish_request(self, *, model: str = MODEL, **context: str) -> csi_pb2.NodePublishVolumeRequest:
        """As kubelet writes it for an inline volume (kubernetes pkg/volume/csi/csi_mounter.go)."""
        capability = csi_pb2.VolumeCapability
        return csi_pb2.NodePublishVolumeRequest(
            volume_id="csi-" + self.uid.replace("-", ""),
            target_path=str(self.target),
            readonly=True,
            volume_capability=capability(
                mount=capability.MountVolume(),
                access_mode=capability.AccessMode(mode=capability.AccessMode.SINGLE_NODE_WRITER),
            ),
            volume_context={
                keys.ATTRIBUTE_MODEL: model,
                "csi.storage.k8s.io/pod.name": "llama-0",
                "csi.storage.k8s.io/pod.namespace": NAMESPACE,
                "csi.storage.k8s.io/pod.uid": self.uid,
                "csi.storage.k8s.io/serviceAccount.name": "default",
                "csi.storage.k8s.io/ephemeral": "true",
            }
            | context,
        )

    def unpublish_request(self) -> csi_pb2.NodeUnpublishVolumeRequest:
        volume_id = "csi-" + self.uid.replace("-", "")
        return csi_pb2.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=str(self.target))

    def stats_request(self) -> csi_pb2.NodeGetVolumeStatsRequest:
        return csi_pb2.NodeGetVolumeStatsRequest(volume_id="csi-volume", volume_path=str(self.target))


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    """With which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()
