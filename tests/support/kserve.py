"""KServe's webhook for pods, played by a policy of the API server's own: it adds a download, and again where it was
taken out. As pkg/webhook/admission/pod/storage_initializer_injector.go does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import yaml

from kube.client import Client, Object
from kube.resources import POD, Resource
from tests.support.control import TEAM, pod
from tests.support.installation import eventually

GROUP, VERSION = "admissionregistration.k8s.io", "v1"
POLICY = Resource(GROUP, VERSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", namespaced=False)
BINDING = Resource(
    GROUP, VERSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", namespaced=False
)
NAME = "kserve-injects"
SPEC = """
matchConstraints:
  resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  objectSelector: {matchExpressions: [{key: serving.kserve.io/inferenceservice, operator: Exists}]}
matchConditions:
  - {name: not-injected, expression: 'object.spec.initContainers.all(c, c.name != "storage-initializer")'}
reinvocationPolicy: IfNeeded
failurePolicy: Fail
mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: |
        [
          JSONPatch{op: "add", path: "/spec/initContainers/-", value: Object.spec.initContainers{
            name: "storage-initializer", image: "kserve/storage-initializer:v1",
            volumeMounts: [Object.spec.initContainers.volumeMounts{
              name: "kserve-provision-location", mountPath: "/mnt/models"}]}},
          JSONPatch{op: "add", path: "/spec/containers/0/volumeMounts/-", value: Object.spec.containers.volumeMounts{
            name: "kserve-provision-location", mountPath: "/mnt/models", readOnly: true}},
          JSONPatch{op: "add", path: "/spec/volumes/-", value: Object.spec.volumes{
            name: "kserve-provision-location", emptyDir: Object.spec.volumes.emptyDir{}}}
        ]
"""


def served(name: str, *, annotations: dict[str, str] | None = None) -> Object:
    """A predictor's pod before any webhook."""
    mounts = [{"name": "own", "mountPath": "/own"}]
    body = pod(
        name,
        annotations=annotations,
        initContainers=[{"name": "theirs", "image": "init:1"}],
        containers=[{"name": "kserve-container", "image": "engine:1", "volumeMounts": mounts}],
        volumes=[{"name": "own", "emptyDir": {}}],
    )
    body["metadata"]["labels"] = {"serving.kserve.io/inferenceservice": name}
    return body


@asynccontextmanager
async def injecting(client: Client) -> AsyncIterator[None]:
    policy = {"apiVersion": POLICY.api_version, "kind": POLICY.kind, "metadata": {"name": NAME}}
    await client.create(POLICY, policy | {"spec": yaml.safe_load(SPEC)})
    binding = {"apiVersion": BINDING.api_version, "kind": BINDING.kind, "metadata": {"name": NAME}}
    await client.create(BINDING, binding | {"spec": {"policyName": NAME}})
    try:

        async def injected() -> bool:
            query = {"dryRun": "All"}
            made = await client._call("POST", POD.path(namespace=TEAM), query=query, body=served("probe"))
            return len(made["spec"]["initContainers"]) == 2

        await eventually(injected, what="KServe's part played")
        yield
    finally:
        await client.delete(BINDING, NAME)
        await client.delete(POLICY, NAME)
