"""What the commands on a cluster share: how it is reached, which namespace is meant, and refusals as named errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from api.errors import ClusterUnavailable, Forbidden, InvalidRequest, NotFound, Unauthorized, WarmsetError
from api.fields import Condition
from api.resources import WarmSet
from controller.objects.resources import WARM_SET
from kube.client import ApiError, Client, Object, reading_kubeconfig
from kube.resources import Resource

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")

FIELD_MANAGER = "warmset-cli"


@dataclass(frozen=True)
class Target:
    """Which cluster and namespace the user means; ``given`` is the namespace that was named, if any."""

    kubeconfig: Path | None
    context: str | None
    given: str = ""

    @cached_property
    def namespace(self) -> str:
        """Read from the kubeconfig only when it is asked for: `wait --group` needs no cluster."""
        return self.given or _namespace_of_context(self.kubeconfig, self.context)


def cluster_options(function: _F) -> _F:
    """Adds --kubeconfig, --context and --namespace; the command gets them as one ``target``."""

    def gathered(*args: Any, kubeconfig: Path | None, context: str | None, namespace: str, **others: Any) -> Any:
        return function(*args, target=Target(kubeconfig, context, namespace), **others)

    gathered.__name__, gathered.__doc__ = function.__name__, function.__doc__
    gathered.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    options = (
        click.option("--kubeconfig", type=click.Path(path_type=Path), help="[default: $KUBECONFIG, ~/.kube/config]"),
        click.option("--context", default=None, help="A context of the kubeconfig."),
        click.option("-n", "--namespace", default="", help="[default: the context's]"),
    )
    for option in options:
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Client]:
    """A client; what the API server refuses comes out as one of api.errors."""
    try:
        async with await Client.connect(kubeconfig=target.kubeconfig, context=target.context) as client:
            yield client
    except ApiError as error:
        raise _named(error) from error


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


async def find(client: Client, resource: Resource, name: str, *, namespace: str = "") -> Object | None:
    """The object, or None where there is none."""
    try:
        return await client.get(resource, name, namespace=namespace or None)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def warm_set(client: Client, name: str, *, namespace: str) -> WarmSet:
    """Raises NotFound, with a hint where to look."""
    found = await find(client, WARM_SET, name, namespace=namespace)
    if found is None:
        raise NotFound(
            f"there is no WarmSet {name!r} in namespace {namespace!r}", hint=f"warmset status -n {namespace}"
        )
    return msgspec.convert(found, type=WarmSet)


def state(conditions: list[Condition], kind: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == kind), None)


def age(timestamp: str | None) -> str:
    """How long ago, as kubectl says it: 45s, 12m, 3h, 5d."""
    if not timestamp:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()))
    for size, unit, most in ((1, "s", 120), (60, "m", 7200), (3600, "h", 172800)):
        if seconds < most:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"


def _named(error: ApiError) -> WarmsetError:
    kinds = {400: InvalidRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 409: InvalidRequest}
    kind = kinds.get(error.status, InvalidRequest if error.status == 422 else ClusterUnavailable)
    return kind(error.message or str(error), hint=_hint(error))


def _hint(error: ApiError) -> str:
    if error.status == 404 and error.message.startswith("namespaces "):
        return "name one that there is with --namespace"
    hints = {
        401: "log in to the cluster again, or choose a --context",
        403: "ask for the role edit or admin in the namespace (docs/install.md); nodes are for administrators",
        404: "is Warmset installed in this cluster?",
    }
    return hints.get(error.status, "")


def _namespace_of_context(kubeconfig: Path | None, context: str | None) -> str:
    from kubernetes.aio import config

    try:
        with reading_kubeconfig(kubeconfig) as path:
            contexts, current = config.list_kube_config_contexts(path)
    except ClusterUnavailable:
        return "default"  # in a pod; else connecting says what is wrong
    chosen = next((c for c in contexts if c["name"] == context), current) if context else current
    return str(chosen["context"].get("namespace") or "default")
