"""A real Kubernetes control plane on loopback: etcd, kube-apiserver and, where asked for, kube-scheduler.

No kubelet and no kube-controller-manager run: nodes are plain objects, bound pods never start, and nothing is
garbage-collected. The admission plugins that need those controllers are off, as in envtest.
"""

from __future__ import annotations

import http.client
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml

from tests.support.certificates import write_certificates
from tests.support.processes import Server, find_binary, free_port, port_open

ADMIN_TOKEN = "admin-of-this-test-only"
HOW_TO_GET = (
    "needs etcd (apt-get install etcd-server), kube-apiserver and kube-scheduler:"
    " export KUBEBUILDER_ASSETS=$(.ci/controlplane/build)"
)


def missing_binaries() -> list[str]:
    return [name for name in ("etcd", "kube-apiserver", "kube-scheduler") if find_binary(name) is None]


@dataclass(frozen=True, kw_only=True)
class Alpha:
    """What Kubernetes has off by default: feature gates, and the API versions that come with them."""

    gates: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    @property
    def gate_options(self) -> list[str]:
        return [f"--feature-gates={gate}=true" for gate in self.gates]

    @property
    def version_options(self) -> list[str]:
        return [f"--runtime-config={version}=true" for version in self.versions]


@dataclass(frozen=True)
class ControlPlane:
    url: str
    etcd: str  # its URL, without credentials
    ca: Path
    kubeconfig: Path  # of an administrator
    folder: Path
    servers: list[Server]
    alpha: Alpha = Alpha()

    def kubeconfig_for(self, token: str, *, name: str) -> Path:
        """A kubeconfig for a bearer token, such as a service account's."""
        return write_kubeconfig(self.folder / f"{name}.kubeconfig", url=self.url, ca=self.ca, token=token)

    def start_scheduler(self) -> Server:
        port = free_port()
        server = Server(
            [
                _binary("kube-scheduler"),
                f"--kubeconfig={self.kubeconfig}",
                f"--authentication-kubeconfig={self.kubeconfig}",
                f"--authorization-kubeconfig={self.kubeconfig}",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={self.folder / 'scheduler'}",
                *self.alpha.gate_options,
            ],
            log=self.folder / "kube-scheduler.log",
        )
        self.servers.append(server)
        server.wait_until(lambda: port_open(port), what="kube-scheduler")
        return server

    def stop(self) -> None:
        for server in reversed(self.servers):
            server.stop()


@contextmanager
def control_plane_in_memory(
    folder: Path, *, alpha: Alpha = Alpha(), apiserver_options: Sequence[str] = ()
) -> Iterator[ControlPlane]:
    """For tests, with a scheduler: etcd syncs each write, and on a disk that neighbours keep busy that takes seconds,
    until leaders lose their Leases. Logs go to ``folder``."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="warmset-etcd-", dir=memory if memory.is_dir() else folder) as data:
        plane = start_control_plane(folder, data=Path(data), alpha=alpha, apiserver_options=apiserver_options)
        try:
            plane.start_scheduler()
            yield plane
        finally:
            plane.stop()


@asynccontextmanager
async def without_space(plane: ControlPlane) -> AsyncIterator[None]:
    """As once etcd's quota is used up: it takes nothing but deletions until the alarm is ended."""
    async with aiohttp.ClientSession() as session:

        async def alarm(action: str) -> None:
            body = {"action": action, "alarm": "NOSPACE"}
            async with session.post(f"{plane.etcd}/v3/maintenance/alarm", json=body) as answer:
                assert answer.status == 200, await answer.text()

        await alarm("ACTIVATE")
        try:
            yield
        finally:
            await alarm("DEACTIVATE")


def start_control_plane(
    folder: Path, *, data: Path | None = None, alpha: Alpha = Alpha(), apiserver_options: Sequence[str] = ()
) -> ControlPlane:
    """etcd keeps its ``data`` in a folder of its own, or below ``folder``."""
    servers: list[Server] = []
    try:
        etcd_url = _start_etcd(folder, servers, data=data or folder / "etcd")
        return _start_apiserver(folder, servers, etcd_url, alpha=alpha, options=apiserver_options)
    except BaseException:
        for server in servers:
            server.stop()
        raise


def _start_etcd(folder: Path, servers: list[Server], *, data: Path) -> str:
    client, peer = free_port(), free_port()
    url = f"http://127.0.0.1:{client}"
    server = Server(
        [
            _binary("etcd"),
            f"--data-dir={data}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        ],
        log=folder / "etcd.log",
    )
    servers.append(server)
    server.wait_until(lambda: port_open(client), what="etcd")
    return url


def _start_apiserver(
    folder: Path, servers: list[Server], etcd_url: str, *, alpha: Alpha, options: Sequence[str]
) -> ControlPlane:
    port = free_port()
    ca, certificate, key = write_certificates(folder)
    tokens = folder / "tokens.csv"
    tokens.write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
    url = f"https://127.0.0.1:{port}"
    server = Server(
        [
            _binary("kube-apiserver"),
            f"--etcd-servers={etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-issuer={url}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            # Both need kube-controller-manager: default service accounts, and readiness taints taken away again.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            "--allow-privileged=true",
            *alpha.gate_options,
            *alpha.version_options,
            *options,
        ],
        log=folder / "kube-apiserver.log",
    )
    servers.append(server)
    server.wait_until(lambda: _ready(port, ca), what="kube-apiserver", within_s=90)
    kubeconfig = write_kubeconfig(folder / "admin.kubeconfig", url=url, ca=ca, token=ADMIN_TOKEN)
    return ControlPlane(
        url=url, etcd=etcd_url, ca=ca, kubeconfig=kubeconfig, folder=folder, servers=servers, alpha=alpha
    )


def write_kubeconfig(path: Path, *, url: str, ca: Path, token: str) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(ca)}}],
                "users": [{"name": "test", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "current-context": "test",
            }
        )
    )
    return path


def _ready(port: int, ca: Path) -> bool:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=5, context=ssl.create_default_context(cafile=str(ca))
    )
    try:
        connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _binary(name: str) -> Path:
    found = find_binary(name)
    if found is None:
        raise RuntimeError(f"{name} not found; {HOW_TO_GET}")
    return found
