"""What a controller is told at start: one YAML file, all keys optional.

namespace: warmset-system        # default: that of the pod's service account
listen_https: 0.0.0.0:9443       # webhook and broker
listen_http: 0.0.0.0:9810        # /healthz, /readyz, /metrics
max_hold: 30m
kueue: {wait_for_pods_ready_timeout: 10m}    # as in Kueue's own configuration; default: it does not wait
topology_levels: [topology.kubernetes.io/zone, example.com/block, example.com/rack]    # widest first; docs/topology.md
host_path_root: /var/lib/warmset # only for clusters without CSI; docs/host-path.md
sources:
  schemes: [oci]
  hosts: [registry.example.com, "*.corp.example"]
  plain_http: [registry.corp.example:5000]
quotas:
  team-a: {bytes_per_node: 500Gi, may_pin: false, highest_priority: 10}
  "*": {bytes_per_node: 100Gi}   # every namespace that is not named
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml
from msgspec import Struct, field

from api.broker import Reach
from api.errors import Forbidden, InvalidRequest
from api.reference import OciReference, Reference
from cache.sources.hosts import hosts_of
from controller.objects import durations
from controller.objects.quantities import quantity

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """How long a gate may hold, in seconds.

    ``kueue_s``: its ``waitForPodsReady.timeout``; None where it does not wait.
    """

    most_s: int
    kueue_s: int | None = None


class Sources(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sources Models may name. An administrator's list: the cluster's nodes reach what users cannot."""

    schemes: tuple[str, ...] = ("oci", "hf", "s3", "gs", "az", "https")
    hosts: tuple[str, ...] = ("*",)
    """Globs over what stands after ``://``: the host (with its port, where a reference has one), or for hf the
    organisation, for object stores the bucket. The glob ``*`` means hosts on the open internet; what another one
    matches may lie in a private network, and what is named without a wildcard anywhere."""
    plain_http: tuple[str, ...] = ()
    """Hosts (as in a reference) that have no TLS."""

    def check(self, reference: Reference) -> None:
        """Raises Forbidden."""
        scheme = "oci" if isinstance(reference, OciReference) else reference.scheme
        host = _host(reference)
        if scheme not in self.schemes:
            raise Forbidden(
                f"sources of scheme {scheme}:// are not allowed here", hint="ask the cluster's administrator"
            )
        if not any(fnmatch.fnmatchcase(host, pattern) for pattern in self.hosts):
            raise Forbidden(f"sources at {host} are not allowed here", hint="ask the cluster's administrator")

    def check_endpoint(self, url: str) -> None:
        """A service of buckets that a Secret names; none is one as well. Raises Forbidden unless the list names its
        host: the library connects by itself, so that nothing judges where the name leads."""
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0]
        if url and not (self._names(host) and (scheme == "https" or (scheme == "http" and host in self.plain_http))):
            raise Forbidden(
                f"the endpoint at {host[:120]!r} is not allowed here",
                hint="an administrator lists its host by name in sources.hosts, and in plain_http where it has no TLS",
            )

    def without_tls(self, reference: Reference, *, endpoint: str = "") -> bool:
        """Whether the source's host, or its endpoint, is listed as one that has no TLS."""
        return bool(hosts_of(reference, endpoint=endpoint) & set(self.plain_http))

    def reach(self, reference: Reference) -> Reach:
        """How far inside the host of a reference may lie."""
        host = _host(reference)
        if host in (*self.hosts, *self.plain_http):
            return "anywhere"
        return "private" if self._names(host) else "public"

    def _names(self, host: str) -> bool:
        """Whether the list has more for the host than a mere ``*``."""
        return host in self.plain_http or any(
            set(pattern) != {"*"} and fnmatch.fnmatchcase(host, pattern) for pattern in self.hosts
        )


class Quota(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one namespace may have of each node's cache."""

    bytes_per_node: str = ""
    """A Kubernetes quantity, such as 500Gi; empty for no limit."""
    may_pin: bool = True
    highest_priority: int = 1000

    @property
    def limit(self) -> int | None:
        return quantity(self.bytes_per_node) if self.bytes_per_node else None


class Kueue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Kueue's own configuration says and its API does not."""

    wait_for_pods_ready_timeout: str = ""
    """As its ``waitForPodsReady.timeout``; empty where it does not wait for pods to be Ready."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration of ``warmset controller``."""

    namespace: str = ""
    """Where its Lease, certificate and CA live; empty: the service account's."""
    listen_https: str = "0.0.0.0:9443"
    listen_http: str = "0.0.0.0:9810"
    service: str = "warmset-controller"
    """Name of the Service in front of ``listen_https``; the certificate is made out to it."""
    agent_service_account: str = "warmset-node"
    """The node agents' service account in ``namespace``; the broker serves nobody else."""
    certificate_hosts: tuple[str, ...] = ()
    """Further names and addresses for the certificate, for a controller that runs outside the cluster."""
    webhook_configuration: str = "warmset-pods"
    """MutatingWebhookConfiguration whose caBundle is kept."""
    webhook_client_ca: str = ""
    """PEM of the authorities that sign the API server's client certificate for webhooks; where given, nobody else is
    answered there (docs/security.md)."""
    max_hold: str = "30m"
    """Longest time that a gate holds a pod."""
    kueue: Kueue = field(default_factory=Kueue)
    host_path_root: str = ""
    """Where set, pods mount models from this cache root of their node instead of by CSI; only Models that are open to
    all namespaces can be asked for then."""
    topology_levels: tuple[str, ...] = ()
    """Node labels, widest first: a group is kept within the narrowest that holds it, as far as that goes."""
    protect_planned_nodes: bool = True
    """Whether nodes that a plan holds get annotations that keep autoscalers from removing them."""
    startup_taint: str = ""
    """Key of the taint under which nodes join, removed when what WarmSets want there is warm; docs/operate.md."""
    quotas: dict[str, Quota] = field(default_factory=dict)
    """By namespace; ``*`` for those not named."""
    exchange: bool = True
    """Whether nodes share their pulls; without it each takes its own copy."""
    sources: Sources = field(default_factory=Sources)

    @property
    def max_hold_s(self) -> int:
        return durations.seconds(self.max_hold)

    @property
    def hold_limits(self) -> HoldLimits:
        wait = self.kueue.wait_for_pods_ready_timeout
        return HoldLimits(self.max_hold_s, durations.seconds(wait) if wait else None)


def load(path: Path | None, *, namespace: str = "") -> Config:
    """Read the file; ``namespace`` goes before what it says. Raises InvalidRequest, which names the key at fault."""
    try:
        content = (yaml.safe_load(path.read_text()) or {}) if path else {}
        config = msgspec.convert(content, type=Config)
    except OSError as error:
        raise InvalidRequest(f"controller configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidRequest(f"controller configuration {path}: {error}") from error
    _ = config.hold_limits
    for quota in config.quotas.values():
        quantity(quota.bytes_per_node or 0)
    for address in (config.listen_https, config.listen_http):
        split_address(address)
    return msgspec.structs.replace(config, namespace=namespace or config.namespace or _own_namespace())


def _host(reference: Reference) -> str:
    return reference.host if isinstance(reference, OciReference) else reference.location.partition("/")[0]


def split_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port``. Raises InvalidRequest."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise InvalidRequest(f"{text!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _own_namespace() -> str:
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip()
    except OSError as error:
        raise InvalidRequest(
            "the controller's namespace is unknown", hint="set `namespace` in its configuration or --namespace"
        ) from error
