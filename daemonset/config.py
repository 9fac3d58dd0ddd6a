"""What an agent is told at start: one YAML file, command-line options, or both, read by one loader.

A stand-alone agent (a laptop, a Slurm node, a test) lists its models itself:

    root: /var/lib/warmset
    listen: 127.0.0.1:9810
    socket: /run/warmset/agent.sock
    models:
      - name: llama-3-70b
        source: oci://registry.example.com/models/llama-3-70b:v1
    plain_http: [registry.example.com:5000]
    peers:
      listen: 127.0.0.1:9820
      members: [127.0.0.1:9820, 127.0.0.1:9821]
      without_security: true
    limits:
      workers: 4
      download_bytes_per_second: 1000000000

An agent in a cluster has a ``cluster`` section instead of ``models``; its NodeCache says what it holds.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import msgspec
import yaml

from api.errors import InvalidRequest
from api.reference import parse_reference
from cache.exchange import cohorts
from cache.sources.mirror import Mirror
from cache.sources.mirrors import Mirrors
from cache.store.capacity import SHARED, Watermarks
from daemonset.sharing.members import expand, own

MAX_GROUP = 1024  # members: all of them ask the first one which revision they pull
DEFAULT_NAMESPACE = "default"  # of a stand-alone model whose name has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an agent may take of its node."""

    pulls: int = 2
    """Models pulled at the same time; the next wait by priority. Two by default, so that a small model, or one whose
    source is slow, does not wait for a large one."""
    workers: int = 4
    """Connections of one pull, each with a thread and a buffer of one chunk; for hundreds of small files up to four
    connections share that buffer, each with a thread."""
    download_bytes_per_second: int | None = None
    """Over all pulls together, however many there are; none means no limit."""
    upload_bytes_per_second: int | None = None
    """Over all peers together that read from this node; none means no limit. In a cohort each member sends about as
    much as it takes, so a limit below ``download_bytes_per_second`` slows the others down."""
    preload_bytes: int = 0
    """Most bytes of one model that are read ahead into memory where a pod asks for it; 0 for none. The memory limit of
    the agent's cgroup must allow for as much, because the kernel charges pages to whoever reads them first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandaloneModel:
    """One model of a stand-alone agent."""

    name: str
    """``name`` or ``namespace/name``; without a namespace it is ``default``."""
    source: str
    """A reference such as ``oci://registry.example.com/models/llama:v1``. A tag is resolved once, at the first pull."""

    @property
    def namespace(self) -> str:
        return self.name.rpartition("/")[0] or DEFAULT_NAMESPACE

    @property
    def base_name(self) -> str:
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the agent learns a model's source and credential, and how each proves itself to the other."""

    url: str
    """``https://host:port`` of the controller's broker."""
    ca_file: Path
    """PEM file of the authorities that may have signed the broker's certificate. Read anew for each call."""
    token_file: Path
    """Bound service-account token for the broker's audience. kubelet rotates it, so it is read for each call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Sharing pulls with other nodes of a cluster."""

    listen: str
    """host:port at which this agent serves its peers; they reach it at ``cluster.advertise``."""
    signers_file: Path
    """Public keys that sign capabilities, written by the controller. Read anew when it changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What only an agent in a cluster has."""

    broker: Broker
    kubeconfig: Path | None = None
    """Instead of the pod's own service account."""
    exchange: Exchange | None = None
    """How pulls are shared with other nodes; none means that each takes its own copy."""
    advertise: str = ""
    """host:port at which other nodes reach this agent, as its status says; empty means the listen address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """The group of a stand-alone agent: the same list on every member."""

    members: tuple[str, ...] = ()
    """Every member: ``host:port``, all addresses of a name as ``dns://name:port``, or all nodes of a Slurm job as
    ``slurm://:port``. More than 32 make several cohorts, of which the first reads the source."""
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Instead of ``members``: the members of each rack, or whatever lies close together, by any name for it."""
    expected: int = 0
    """How many members the group has; a name is looked up until it has so many addresses. 0 for those it has now."""
    listen: str = ""
    """host:port at which this agent serves the others; one of ``members``. Empty for the one with an address of this
    machine."""
    key_file: Path | None = None
    """The group's key, the same on every member and readable to nobody else: members prove themselves with it, and what
    goes between them is encrypted. Made with ``openssl genpkey -algorithm ed25519``."""
    without_security: bool = False
    """Instead of a key, on loopback addresses alone: whoever is on this machine may read what its agents hold."""

    def cohort(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The members of this agent's cohort, and of the one that it reads from, which the first has not."""
        named = {member: domain for domain, members in self.domains.items() for member in members}
        tree = cohorts.part(named or dict.fromkeys(self.members, ""))
        own = next(cohort for cohort in tree if self.listen in cohort.members)
        return own.members, () if own.parent is None else tree[own.parent].members


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The whole configuration. Stand-alone, unless it has a ``cluster`` section."""

    root: Path
    """The cache's folder; one agent a root. It must be on a filesystem with hard links."""
    node: str = field(default_factory=socket.gethostname)
    """The node's name; in a cluster it must be the Node object's."""
    listen: str = "127.0.0.1:9810"
    """host:port of /healthz, /readyz and /metrics, and of /v1/status where the agent is stand-alone."""
    socket: Path | None = None
    """Unix socket for the CSI driver and local commands; none means that there is no socket."""
    io: Literal["auto", "direct", "buffered"] = "auto"
    """How blobs are written; ``auto`` takes direct I/O where the filesystem offers it."""
    limits: Limits = field(default_factory=Limits)
    scrub_bytes_per_second: int = 20_000_000
    """How fast blobs are read again to find bytes that rotted, a round a day at most; 0 for never. A terabyte takes
    14 hours at this rate, which is a hundredth of what an NVMe disk gives."""
    watermarks: Watermarks = SHARED
    """How full the cache's disk may get. The default is for a disk that kubelet uses too (docs/operate.md)."""
    models: tuple[StandaloneModel, ...] = ()
    """What a stand-alone agent holds. Taking a model out of the list removes nothing from the disk."""
    plain_http: frozenset[str] = frozenset()
    """Registry hosts (host:port) of a stand-alone agent that have no TLS."""
    mirrors: tuple[Mirror, ...] = ()
    """Other servers to ask before a registry, in their order (docs/sources.md)."""
    allow_executable: bool = False
    """Whether models may hold files of formats that run code when they are loaded (docs/security.md)."""
    host_path: bool = False
    """Show models that are open to all namespaces below ``<root>/open``, for pods that mount by hostPath because their
    cluster has no CSI. No driver is waited for then (docs/host-path.md)."""
    cluster: Cluster | None = None
    peers: Peers | None = None
    """The group that a stand-alone agent shares its pulls with; none means that it reads the source alone."""

    @property
    def address(self) -> tuple[str, int]:
        """``listen`` as (host, port)."""
        return split_address(self.listen)


def load(path: Path | None, *, options: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> AgentConfig:
    """Read the file, lay the options (the same keys, nested alike) over it, and check the whole.

    ``environ`` may tell a group's members. Waits for a name that does not have all its addresses yet.
    Raises InvalidRequest, whose message names the key at fault.
    """
    merged = _merge(_read(path) if path else {}, options)
    where = str(path) if path else "the options"
    try:
        _refuse_unknown(merged, AgentConfig, at="")
        config = msgspec.convert(merged, type=AgentConfig, dec_hook=_path)
        if config.peers is not None:
            config = dataclasses.replace(config, peers=_expanded(config.peers, environ=environ or {}))
        _check(config)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidRequest(
            f"agent configuration ({where}): {error}",
            hint="docs/stand-alone.md and deploy/examples have ones to begin with",
        ) from error
    return config


def split_address(text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port``. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InvalidRequest(f"agent configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"agent configuration {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InvalidRequest(f"agent configuration {path}: expected keys and values", hint="see docs for an example")
    return content


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merge(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged


def _refuse_unknown(value: object, kind: Any, *, at: str) -> None:
    """A misspelt key must not pass for a default. Walks values and dataclass types side by side."""
    for part in (kind, *get_args(kind)):
        if isinstance(value, list) and dataclasses.is_dataclass(part):
            for index, item in enumerate(value):
                _refuse_unknown(item, part, at=f"{at}[{index}]")
        if isinstance(value, Mapping) and dataclasses.is_dataclass(part):
            known = get_type_hints(part)
            for key, inner in value.items():
                if key not in known:
                    raise ValueError(f"unknown key {f'{at}.{key}'.lstrip('.')!r}; known are {', '.join(sorted(known))}")
                _refuse_unknown(inner, known[key], at=f"{at}.{key}")


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"expected a path, got {value!r}")


def _check(config: AgentConfig) -> None:
    split_address(config.listen)
    Mirrors(config.mirrors)  # refuses what is no URL
    if config.cluster is None:
        _check_standalone(config)
    elif config.models or config.plain_http or config.peers:
        raise ValueError("in a cluster the NodeCache lists the models and the broker tells hosts without TLS")
    elif not config.cluster.broker.url.startswith("https://"):
        raise ValueError("'cluster.broker.url' must be https://…, because credentials pass there")
    elif config.cluster.advertise:
        split_address(config.cluster.advertise)
        if config.cluster.exchange is not None:
            split_address(config.cluster.exchange.listen)
    for name, value in (("pulls", config.limits.pulls), ("workers", config.limits.workers)):
        if not 1 <= value <= 64:
            raise ValueError(f"'limits.{name}' must be 1 to 64, not {value}")
    if config.limits.preload_bytes < 0:
        raise ValueError("'limits.preload_bytes' must be 0 or more")
    if config.scrub_bytes_per_second < 0:
        raise ValueError("'scrub_bytes_per_second' must be 0 or more")
    marks = config.watermarks
    if not (0 < marks.low <= marks.high <= 1 and 0 < marks.inodes_low <= marks.inodes_high <= 1):
        raise ValueError("'watermarks' are shares of the disk: 0 < low <= high <= 1, for inodes too")
    for name in ("download_bytes_per_second", "upload_bytes_per_second"):
        rate = getattr(config.limits, name)
        if rate is not None and rate < 1:
            raise ValueError(f"'limits.{name}' must be 1 or more; leave it out for no limit")


def _check_standalone(config: AgentConfig) -> None:
    seen = set()
    for model in config.models:
        parse_reference(model.source)
        identity = (model.namespace, model.base_name)
        if not model.base_name or "/" in model.namespace:
            raise ValueError(f"model name {model.name!r} is not 'name' or 'namespace/name'")
        if identity in seen:
            raise ValueError(f"model {model.name!r} is listed twice")
        seen.add(identity)
    if config.peers is not None:
        _check_peers(config.peers)


def _expanded(peers: Peers, *, environ: Mapping[str, str]) -> Peers:
    if peers.members and peers.domains:
        raise ValueError("'peers' must have either 'members' or 'domains'")
    if peers.domains:
        domains = {name: expand(listed, expected=0, environ=environ) for name, listed in peers.domains.items()}
        members = tuple(sorted(member for listed in domains.values() for member in listed))
        peers = dataclasses.replace(peers, domains=domains)
    else:
        members = expand(peers.members, expected=peers.expected, environ=environ)
    return dataclasses.replace(peers, members=members, listen=peers.listen or own(members))


def _check_peers(peers: Peers) -> None:
    addresses = [split_address(member) for member in peers.members]
    if peers.listen not in peers.members:
        raise ValueError("'peers.members' must hold the address in 'peers.listen'")
    if len(addresses) > MAX_GROUP or len(set(addresses)) != len(addresses):
        raise ValueError(f"'peers.members' must be {MAX_GROUP} different addresses at most, not {len(addresses)}")
    if peers.expected and len(addresses) != peers.expected:
        raise ValueError(f"'peers.members' are {len(addresses)}, and 'peers.expected' says {peers.expected}")
    if (peers.key_file is None) is not peers.without_security:
        raise ValueError("'peers' must have either a 'key_file' or 'without_security: true'")
    if peers.without_security and not all(_is_loopback(host) for host, _ in addresses):
        raise ValueError("'peers.without_security' is for loopback addresses alone: other members need a 'key_file'")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
