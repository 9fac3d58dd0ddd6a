"""A client for the Kubernetes API that speaks plain JSON objects.

Credentials, TLS, proxies and token reload are kubernetes.aio's; the typed models of that library are left out,
because importing them costs more memory than a node agent may take. The package itself imports all of its parts, for
0.3 s of processor time and 20 MiB: that is left to whoever connects.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlencode

import aiohttp
import msgspec

from api.errors import ClusterUnavailable
from kube.resources import Resource

if TYPE_CHECKING:
    from kubernetes.aio.client.api_client import ApiClient

Object = dict[str, Any]
Objects = list[Object]  # named, because a method below takes the name `list`
Body = Object | Objects
PatchKind = Literal["merge", "json", "strategic", "apply"]

PAGE = 500  # objects a list request returns at once, as client-go
REQUEST_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0

_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(Exception):
    """An answer of the API server that is not a success; ``status`` is its HTTP code."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Client:
    """An async context manager. Every method raises ApiError, or ClusterUnavailable when there is no answer."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls, *, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """By the pod's service account inside a cluster, else by a kubeconfig ($KUBECONFIG, ~/.kube/config)."""
        from kubernetes.aio import config as kube_config
        from kubernetes.aio.client.api_client import ApiClient
        from kubernetes.aio.client.configuration import Configuration

        configuration = Configuration()
        if kubeconfig is None and context is None and _in_cluster():
            kube_config.load_incluster_config(client_configuration=configuration)
        else:
            with reading_kubeconfig(kubeconfig) as path:
                await kube_config.load_kube_config(
                    config_file=path, context=context, client_configuration=configuration
                )
        return cls(ApiClient(configuration))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> Object:
        return await self._call("GET", resource.path(namespace=namespace, name=name))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Objects:
        """All objects, fetched a page at a time, consistent with the newest write."""
        items, _ = await self.list_from(
            resource, namespace=namespace, label_selector=label_selector, field_selector=field_selector
        )
        return items

    async def list_from(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> tuple[Objects, str]:
        """All objects and the resourceVersion from which a watch goes on ("0": whatever the server has cached)."""
        query = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": str(PAGE)}
        items: Objects = []
        more = ""
        while True:
            # A continue token carries its own version; the server refuses both together.
            page_of = {"continue": more} if more else {"resourceVersion": resource_version}
            page = await self._call("GET", resource.path(namespace=namespace), query={**query, **page_of})
            items.extend(page.get("items") or ())
            more = page["metadata"].get("continue", "")
            if not more:
                return items, page["metadata"]["resourceVersion"]

    async def create(
        self,
        resource: Resource,
        body: Object,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """``name`` and ``subresource`` are for calls such as a service account's ``token``."""
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        return await self._call("POST", path, body=body)

    async def replace(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        """Write the whole object; a 409 says that its resourceVersion is no longer the newest."""
        meta = body["metadata"]
        path = resource.path(namespace=meta.get("namespace"), name=meta["name"], subresource=subresource)
        return await self._call("PUT", path, body=body)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Body,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        kind: PatchKind = "merge",
        field_manager: str = "warmset",
        force: bool = False,
    ) -> Object:
        query = {"fieldManager": field_manager}
        if kind == "apply" and force:
            query["force"] = "true"
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        return await self._call("PATCH", path, query=query, body=body, content_type=_PATCH_TYPES[kind])

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """With ``uid``, only that very object: a 409 if another has taken its name. ``grace_s`` 0 waits for nobody."""
        body: Object = {"preconditions": {"uid": uid}} if uid else {}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        await self._call("DELETE", resource.path(namespace=namespace, name=name), body=body or None)

    @asynccontextmanager
    async def stream(self, path: str, query: dict[str, str], *, idle_s: float) -> AsyncIterator[aiohttp.StreamReader]:
        """An open GET whose body is read as it comes; fails after ``idle_s`` seconds without a byte."""
        deadline = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=idle_s)
        response = await self._send("GET", path, query=query, deadline=deadline)
        try:
            if response.status >= 300:
                raise _api_error(response.status, await response.read())
            yield response.content
        finally:
            response.close()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
    ) -> Object:
        deadline = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        response = await self._send(
            method, path, query=query or {}, deadline=deadline, body=body, content_type=content_type
        )
        try:
            payload = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClusterUnavailable(f"{method} {path}: {error or 'timed out'}") from error
        finally:
            response.release()
        if response.status >= 300:
            raise _api_error(response.status, payload)
        return msgspec.json.decode(payload, type=dict[str, Any]) if payload else {}

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str],
        deadline: aiohttp.ClientTimeout,
        body: Body | None = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        text = urlencode({key: value for key, value in query.items() if value})
        _, url, headers, _, _ = await self._api.param_serialize(
            method, f"{path}?{text}" if text else path, auth_settings=["BearerToken"]
        )
        headers |= {"Content-Type": content_type, "Accept": "application/json"}
        try:
            answer = await self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=deadline
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterUnavailable(
                f"the API server does not answer ({method} {path}): {error or 'timed out'}",
                hint="check KUBECONFIG and the network, or try again",
            ) from error
        response: aiohttp.ClientResponse = answer.response
        return response


@contextmanager
def reading_kubeconfig(given: Path | None) -> Iterator[str]:
    """The path, or paths, to read: ``given``, else $KUBECONFIG, else ~/.kube/config.

    Raises ClusterUnavailable where none is there, and in place of whatever reading it raises.
    """
    from kubernetes.aio import config as kube_config

    paths = str(given) if given else kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep)):
        raise ClusterUnavailable(
            f"there is no kubeconfig at {paths}", hint="name yours with KUBECONFIG or --kubeconfig"
        )
    try:
        yield paths
    except Exception as error:  # the library checks little of what it reads; other texts of its could hold a token
        why = str(error) if isinstance(error, kube_config.ConfigException | OSError) else type(error).__name__
        raise ClusterUnavailable(
            f"the kubeconfig {paths} cannot be used: {why}", hint="see whether kubectl can use it"
        ) from error


def _in_cluster() -> bool:
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()


def _api_error(status: int, payload: bytes) -> ApiError:
    # Bodies may repeat what was sent, secrets included: only a Status's own words are kept, and few of them.
    try:
        said = msgspec.json.decode(payload)
        return ApiError(status, str(said.get("reason", "")), str(said.get("message", ""))[:500])
    except (msgspec.DecodeError, AttributeError):
        return ApiError(status, "", "the answer is not a Kubernetes Status")


async def backoff(attempt: int, *, base_s: float = 0.5, cap_s: float = 30.0) -> None:
    """Sleep before try number ``attempt`` + 1: doubling, capped, with full jitter."""
    await asyncio.sleep(random.uniform(0, min(cap_s, base_s * 2**attempt)))  # noqa: S311 (jitter, not a secret)
