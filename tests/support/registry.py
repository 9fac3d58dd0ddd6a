"""A real OCI registry on loopback: Debian's docker-registry, each with its own folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Server, find_binary, free_port, port_open

HOW_TO_GET = "docker-registry not found: apt-get install docker-registry"


@dataclass(frozen=True)
class Registry:
    """``host`` is what a reference names."""

    host: str
    folder: Path
    server: Server

    def stop(self) -> None:
        self.server.stop(grace_s=2.0)


def registry_missing() -> bool:
    return find_binary("docker-registry") is None


def start_registry(
    folder: Path, *, htpasswd: Path | None = None, port: int | None = None, proxy_of: str = ""
) -> Registry:
    """Start one; ``htpasswd`` (bcrypt) makes it ask for a user and password, ``proxy_of`` a pull-through cache of
    another one's host. Stop it with ``stop``."""
    binary = find_binary("docker-registry")
    if binary is None:
        raise RuntimeError(HOW_TO_GET)
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {htpasswd}\n" if htpasswd else ""
    proxy = f"proxy:\n  remoteurl: http://{proxy_of}\n" if proxy_of else ""
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log:\n  level: warn\n  accesslog:\n    disabled: true\n"
        f"storage:\n  filesystem:\n    rootdirectory: {folder / 'data'}\n    maxthreads: 100\n"
        "  delete:\n    enabled: true\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
        f"{auth}{proxy}"
    )
    server = Server([binary, "serve", config], log=folder / "log.txt")
    server.wait_until(lambda: port_open(port), what="docker-registry", within_s=20.0)
    return Registry(f"127.0.0.1:{port}", folder, server)
