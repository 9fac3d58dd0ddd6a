"""The rendered chart on a real API server: it takes every object, and the guards hold."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.fields import ObjectMeta
from api.keys import GATE, MODEL, PROTECTED
from api.resources import API_VERSION, Placement, WarmSet, WarmSetSpec
from controller.objects.nodes import PROTECTIONS, NodeView
from controller.warm_sets import engine_images
from kube.client import ApiError, Client, Object
from kube.resources import CONFIG_MAP, MUTATING_WEBHOOK, NODE, POD, SECRET
from tests.integration.conftest import MODELS, NODE_CACHES, WARM_SETS
from tests.support.chart import CHART, NAMESPACE, Manifest, helm, render, resource_of
from tests.support.controlplane import ControlPlane
from tests.support.crds import CRDS
from tests.support.installation import apply, ensure_namespace, eventually, remove, service_account_token

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"


@pytest.fixture
async def installed(cluster: Client) -> AsyncIterator[list[Manifest]]:
    """The chart's objects, applied; taken away again afterwards."""
    manifests = render()
    await ensure_namespace(cluster, NAMESPACE)
    await apply(cluster, manifests)
    yield manifests
    await remove(cluster, manifests)


def pod(name: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name} | ({"annotations": annotations} if annotations else {}),
        "spec": {"containers": [{"name": "engine", "image": "engine:1.0.0"}], **spec},
    }


async def error_of(call: Awaitable[Object]) -> ApiError | None:
    try:
        await call
    except ApiError as error:
        return error
    return None


async def refused(call: Awaitable[Object]) -> ApiError:
    error = await error_of(call)
    assert error is not None, "the API server took it"
    return error


# -- What the controller may change of a Node -------------------------------------------------------------------


async def test_the_controller_marks_nodes_and_changes_nothing_else_of_them(
    installed: list[Manifest], cluster: Client, control_plane: ControlPlane
) -> None:
    await cluster.create(NODE, {"metadata": {"name": "n1", "annotations": {"his": "own"}}, "spec": {}})
    token = await service_account_token(cluster, "warmset-controller", namespace=NAMESPACE)
    kubeconfig = control_plane.kubeconfig_for(token, name="controller")
    async with await Client.connect(kubeconfig=kubeconfig) as controller:

        async def write(**metadata: Any) -> Object:
            return await controller.patch(NODE, "n1", {"metadata": metadata})

        async def enforced() -> bool:
            return await error_of(write(labels={"new": secrets.token_hex(4)})) is not None

        await eventually(enforced, what="the policy")
        await write(annotations={PROTECTIONS[0]: "true", PROTECTED: PROTECTIONS[0]})
        await write(annotations={PROTECTIONS[0]: None, PROTECTED: None})
        assert "no annotation" in (await refused(write(annotations={"his": None}))).message
        assert "nothing else" in (await refused(write(labels={"pool": "mine"}))).message
        taint = {"spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]}}
        assert "no taint" in (await refused(controller.patch(NODE, "n1", taint))).message
        cordon = {"spec": {"unschedulable": True}}
        assert "nothing else" in (await refused(controller.patch(NODE, "n1", cordon))).message


async def test_the_controller_makes_pods_that_pull_an_image_and_no_other(
    installed: list[Manifest], cluster: Client, control_plane: ControlPlane
) -> None:
    token = await service_account_token(cluster, "warmset-controller", namespace=NAMESPACE)
    placement = Placement(node_selector={})
    warm_set = WarmSet(
        metadata=ObjectMeta(name="w", uid="u"), spec=WarmSetSpec(models=["llama"], placement=placement, images=["e:1"])
    )
    body = engine_images.pod(warm_set, NodeView("n1", "u"), "e:1")
    async with await Client.connect(kubeconfig=control_plane.kubeconfig_for(token, name="c")) as controller:

        def made(name: str, **spec: Any) -> Awaitable[Object]:
            named = body | {"metadata": body["metadata"] | {"name": name}, "spec": body["spec"] | spec}
            return controller.create(POD, named, namespace="default")

        async def enforced() -> bool:
            return await error_of(made(f"host-{secrets.token_hex(4)}", hostNetwork=True)) is not None

        await eventually(enforced, what="the policy")
        await made("good")
        volumes = [{"name": "root", "hostPath": {"path": "/"}}]
        shell = [body["spec"]["containers"][0] | {"command": ["sh"]}]
        assert "no volumes" in (await refused(made("volumes", volumes=volumes))).message
        assert "runs nothing" in (await refused(made("shell", containers=shell))).message


# -- What a node's agent may do ---------------------------------------------------------------------------------


@pytest.fixture
async def agent(cluster: Client, installed: list[Manifest], control_plane: ControlPlane) -> AsyncIterator[Client]:
    """The agent of node-1, by a real token bound to its pod; there are NodeCaches for node-1 and node-2."""
    for name in ("node-1", "node-2"):
        await cluster.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        await cluster.create(
            NODE_CACHES, {"apiVersion": API_VERSION, "kind": "NodeCache", "metadata": {"name": name}, "spec": {}}
        )
    running = await cluster.create(
        POD,
        pod("warmset-node-1", nodeName="node-1", serviceAccountName="warmset-node"),
        namespace=NAMESPACE,
    )
    async with await client_of_agent(cluster, control_plane, bound_to=running) as client:
        await until_policy_holds(client)
        yield client


async def client_of_agent(cluster: Client, control_plane: ControlPlane, *, bound_to: Object | None) -> Client:
    token = await service_account_token(cluster, "warmset-node", bound_to=bound_to)
    name = "bound" if bound_to else "unbound"
    return await Client.connect(kubeconfig=control_plane.kubeconfig_for(token, name=name))


async def until_policy_holds(agent: Client) -> None:
    async def both() -> bool:
        own, other = await error_of(write_status(agent, "node-1")), await error_of(write_status(agent, "node-2"))
        return own is None and other is not None

    await eventually(both, what="role and policy")


async def write_status(agent: Client, node: str) -> Object:
    return await agent.patch(NODE_CACHES, node, {"status": {"capacity": 7}}, subresource="status")


async def test_an_agent_writes_the_status_of_its_own_node(agent: Client) -> None:
    assert (await write_status(agent, "node-1"))["status"] == {"capacity": 7}


async def test_an_agent_cannot_write_the_status_of_another_node(agent: Client) -> None:
    error = await refused(write_status(agent, "node-2"))
    assert "the agent of node node-1 may write only the NodeCache of that name" in error.message


async def test_a_token_that_is_bound_to_no_pod_writes_nothing(
    agent: Client, cluster: Client, control_plane: ControlPlane
) -> None:
    async with await client_of_agent(cluster, control_plane, bound_to=None) as unbound:
        error = await refused(write_status(unbound, "node-1"))
    assert "names no node" in error.message


async def test_an_agent_cannot_change_what_its_node_should_hold(agent: Client) -> None:
    error = await refused(agent.patch(NODE_CACHES, "node-1", {"spec": {"models": []}}))
    assert error.status == 403


async def test_a_status_write_carries_no_owners_labels_or_spec_with_it(agent: Client) -> None:
    change = {
        "metadata": {"labels": {"a": "b"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1"}]},
        "spec": {"models": [{"model": "0" * 32, "revision": ""}]},
        "status": {"capacity": 8},
    }
    await error_of(agent.patch(NODE_CACHES, "node-1", change, subresource="status"))  # refusing it whole would do too
    stored = await agent.get(NODE_CACHES, "node-1")
    assert not {"labels", "finalizers", "ownerReferences"} & stored["metadata"].keys()
    assert stored["spec"] == {}


async def test_the_policy_holds_even_where_a_role_says_more(agent: Client, cluster: Client) -> None:
    """A role that somebody widened by mistake does not let a node write specs."""
    role = resource_of({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {}})
    wide = [{"op": "add", "path": "/rules/0/verbs/-", "value": "patch"}]
    await cluster.patch(role, "warmset-node", wide, kind="json")

    async def by_policy() -> bool:
        error = await refused(agent.patch(NODE_CACHES, "node-1", {"metadata": {"labels": {"a": "b"}}}))
        return "an agent writes only the status" in error.message

    await eventually(by_policy, what="the widened role")


async def test_an_agent_reads_no_secrets_and_no_pods_and_changes_no_nodes(agent: Client) -> None:
    for call in (
        agent.get(SECRET, "warmset-tls", namespace=NAMESPACE),
        agent.get(SECRET, "any", namespace="default"),
        agent.get(POD, "any", namespace="default"),
        agent.patch(NODE, "node-1", {"metadata": {"labels": {"a": "b"}}}),
        agent.create(POD, pod("a"), namespace=NAMESPACE),
    ):
        assert (await refused(call)).status == 403


# -- Which pods wait for the webhook ----------------------------------------------------------------------------


async def creates(cluster: Client, body: Object, *, namespace: str) -> bool:
    """Whether the API server takes the pod while no controller answers its webhook."""
    error = await error_of(cluster.create(POD, body, namespace=namespace))
    if error is not None:
        assert "pods.warmset.dev" in error.message, error
        return False
    await cluster.delete(POD, body["metadata"]["name"], namespace=namespace, grace_s=0)
    return True


@pytest.fixture
async def unanswered(cluster: Client, installed: list[Manifest]) -> Client:
    """The webhook is configured, and its service has nobody behind it."""

    async def in_force() -> bool:
        return not await creates(cluster, pod("probe", annotations={MODEL: "llama"}), namespace="default")

    await eventually(in_force, what="the webhook")
    return cluster


async def test_a_pod_that_asks_is_not_created_without_weights(unanswered: Client) -> None:
    assert not await creates(unanswered, pod("asks", annotations={MODEL: "llama"}), namespace="default")


@pytest.mark.parametrize("annotations", [None, {"team": "a"}], ids=["no annotations", "others"])
async def test_a_pod_that_does_not_ask_never_waits(unanswered: Client, annotations: dict[str, str] | None) -> None:
    assert await creates(unanswered, pod("plain", annotations=annotations), namespace="default")


async def test_a_mirror_pod_is_never_touched(unanswered: Client) -> None:
    """A static pod's copy runs already; refusing it would only hide it."""
    annotations = {MODEL: "llama", "kubernetes.io/config.mirror": "0"}
    await unanswered.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
    assert await creates(unanswered, pod("mirror", annotations=annotations, nodeName="node-1"), namespace="default")


# -- helm itself ------------------------------------------------------------------------------------------------


@pytest.fixture
async def release(cluster: Client, control_plane: ControlPlane) -> AsyncIterator[Callable[..., str]]:
    """The chart installed by helm; calls helm on that release."""

    def call(verb: str, *arguments: str) -> str:
        options = [f"--namespace={NAMESPACE}", f"--kubeconfig={control_plane.kubeconfig}"]
        return helm(verb, "warmset", *arguments, *options)

    await ensure_namespace(cluster, NAMESPACE)
    call("install", str(CHART))
    yield call
    call("uninstall", "--ignore-not-found")


async def test_an_upgrade_keeps_what_the_controller_wrote(
    cluster: Client, control_plane: ControlPlane, release: Callable[..., str]
) -> None:
    """Its key, the authority that agents trust, and the webhook's caBundle."""
    trusted = base64.b64encode(control_plane.ca.read_bytes()).decode()  # any authority will do
    key = {"data": {"tls.key": "a2V5"}}
    await cluster.patch(SECRET, "warmset-tls", key, namespace=NAMESPACE)
    await cluster.patch(CONFIG_MAP, "warmset-ca", {"data": {"ca.crt": "pem"}}, namespace=NAMESPACE)
    bundle = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": trusted}]
    await cluster.patch(MUTATING_WEBHOOK, "warmset-pods", bundle, kind="json")
    release("upgrade", str(CHART), "--set=webhook.timeoutSeconds=3,controller.maxHold=10m")
    webhook = (await cluster.get(MUTATING_WEBHOOK, "warmset-pods"))["webhooks"][0]
    assert (webhook["timeoutSeconds"], webhook["clientConfig"]["caBundle"]) == (3, trusted)
    assert (await cluster.get(SECRET, "warmset-tls", namespace=NAMESPACE))["data"] == key["data"]
    assert (await cluster.get(CONFIG_MAP, "warmset-ca", namespace=NAMESPACE))["data"] == {"ca.crt": "pem"}


async def test_a_rollback_brings_the_old_settings_back_and_keeps_what_the_controller_wrote(
    cluster: Client, control_plane: ControlPlane, release: Callable[..., str]
) -> None:
    trusted = base64.b64encode(control_plane.ca.read_bytes()).decode()
    bundle = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": trusted}]
    release("upgrade", str(CHART), "--set=webhook.timeoutSeconds=3,networkPolicy.enabled=false,node.limits.workers=8")
    await cluster.patch(MUTATING_WEBHOOK, "warmset-pods", bundle, kind="json")
    await cluster.patch(CONFIG_MAP, "warmset-ca", {"data": {"ca.crt": "pem"}}, namespace=NAMESPACE)
    release("rollback", "1")
    webhook = (await cluster.get(MUTATING_WEBHOOK, "warmset-pods"))["webhooks"][0]
    assert (webhook["timeoutSeconds"], webhook["clientConfig"]["caBundle"]) == (2, trusted)
    assert (await cluster.get(CONFIG_MAP, "warmset-ca", namespace=NAMESPACE))["data"] == {"ca.crt": "pem"}
    for manifest in render():
        meta = manifest["metadata"]
        there = await cluster.get(resource_of(manifest), meta["name"], namespace=meta.get("namespace"))
        if manifest["kind"] == "ConfigMap" and "data" in manifest:
            assert there["data"] == manifest["data"], meta["name"]


async def test_the_pages_command_brings_newer_crds_over_those_that_helm_installed(cluster: Client) -> None:
    page = (CHART.parents[1] / "docs" / "install.md").read_text()
    (options,) = re.findall(r"^kubectl apply --server-side(.*) -f deploy/chart/crds$", page, re.MULTILINE)
    body = yaml.safe_load((CHART / "crds" / "models.yaml").read_text())
    name = body["metadata"]["name"]
    await cluster.patch(CRDS, name, body, kind="apply", field_manager="helm", force=True)
    spec = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["new"] = {"type": "string"}
    forced = "--force-conflicts" in options
    newer = await cluster.patch(CRDS, name, body, kind="apply", field_manager="kubectl", force=forced)
    schema = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "new" in schema["properties"]["spec"]["properties"]


async def test_the_notes_name_the_next_steps(release: Callable[..., str]) -> None:
    assert "--serviceaccount=warmset-system:warmset-controller" in release("status")


async def test_uninstalling_leaves_the_resources_of_users_and_nothing_else(
    cluster: Client, release: Callable[..., str]
) -> None:
    model = {"apiVersion": API_VERSION, "kind": "Model", "metadata": {"name": "llama"}, "spec": {"source": "s3://a/b"}}
    await cluster.create(MODELS, model, namespace="default")
    release("uninstall")
    assert [m["metadata"]["name"] for m in await cluster.list(MODELS)] == ["llama"]
    for manifest in render():
        left = await cluster.list(resource_of(manifest), label_selector="app.kubernetes.io/name=warmset")
        assert not left, manifest["kind"]


async def test_after_an_uninstall_nothing_waits_for_anybody_to_be_deleted(
    cluster: Client, release: Callable[..., str]
) -> None:
    """No finalizer, and no webhook that is asked and gone: objects, annotated pods and namespaces go at once."""
    await ensure_namespace(cluster, "left")
    source = {"source": "s3://a/b"}
    model = {"apiVersion": API_VERSION, "kind": "Model", "metadata": {"name": "llama"}, "spec": source}
    await cluster.create(MODELS, model, namespace="left")
    placement = {"nodeSelector": {"gpu": "a"}}
    warm_set = {
        "apiVersion": API_VERSION,
        "kind": "WarmSet",
        "metadata": {"name": "llama"},
        "spec": {"models": ["llama"], "placement": placement},
    }
    await cluster.create(WARM_SETS, warm_set, namespace="left")
    node_cache = {"apiVersion": API_VERSION, "kind": "NodeCache", "metadata": {"name": "node-1"}, "spec": {}}
    await cluster.create(NODE_CACHES, node_cache)
    release("uninstall")
    gated = pod("gated", annotations={MODEL: "llama"}, schedulingGates=[{"name": GATE}])
    assert await creates(cluster, gated, namespace="left")
    await cluster.delete(MODELS, "llama", namespace="left")
    await cluster.delete(WARM_SETS, "llama", namespace="left")
    await cluster.delete(NODE_CACHES, "node-1")
    for resource in (MODELS, WARM_SETS, NODE_CACHES, POD):
        assert await cluster.list(resource, **({} if resource is NODE_CACHES else {"namespace": "left"})) == []


@pytest.mark.parametrize(
    "file",
    [
        "daemonset.yaml",
        "deployment.yaml",
        "explicit-group.yaml",
        "job.yaml",
        "model.yaml",
        "resourceclaim.yaml",
        "secret-access.yaml",
        "statefulset.yaml",
        "warmset.yaml",
    ],
)
async def test_an_example_is_taken_as_it_stands(cluster: Client, installed: list[Manifest], file: str) -> None:
    await ensure_namespace(cluster, "team-a")
    examples = list(yaml.safe_load_all((EXAMPLES / file).read_text()))
    await apply(cluster, examples)
    await remove(cluster, examples)
