"""CustomResourceDefinitions on a test's API server: other projects' types, whose controllers are played."""

from __future__ import annotations

from functools import partial

from kube.client import ApiError, Client, Object
from kube.resources import Resource
from tests.support.installation import eventually

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
ANYTHING: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(resource: Resource, *, schema: Object = ANYTHING, status: bool = False) -> Object:
    """``status`` makes that a subresource."""
    version: Object = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}} if status else {},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": _name(resource),
            # The API server asks for this where a group ends in k8s.io.
            "annotations": {"api-approved.kubernetes.io": "https://example.com/approved"},
        },
        "spec": {
            "group": resource.group,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {"plural": resource.plural, "singular": resource.kind.lower(), "kind": resource.kind},
            "versions": [version],
        },
    }


async def install(client: Client, *definitions: Object) -> None:
    """Returns once the API server serves them."""
    for body in definitions:
        await client.patch(CRDS, body["metadata"]["name"], body, kind="apply", force=True)
    for resource in map(_resource, definitions):
        await eventually(partial(_served, client, resource), what=f"{resource.plural} served")


async def uninstall(client: Client, *resources: Resource) -> None:
    """Returns once they are gone: what is installed again while it goes would go with it."""
    for resource in resources:
        await client.delete(CRDS, _name(resource))
    for resource in resources:

        async def gone(resource: Resource = resource) -> bool:
            return not await _served(client, resource)

        await eventually(gone, what=f"{resource.plural} gone")


async def _served(client: Client, resource: Resource) -> bool:
    try:
        await client.list(resource)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


def _resource(definition: Object) -> Resource:
    spec = definition["spec"]
    version = next(version["name"] for version in spec["versions"] if version["served"])
    return Resource(spec["group"], version, spec["names"]["plural"], spec["names"]["kind"])


def _name(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}"
