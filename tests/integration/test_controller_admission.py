"""Admission on a real API server: pods that ask are given what they need, all others are never touched."""

from __future__ import annotations

import asyncio

import pytest

from api import keys
from controller.objects.resources import MODEL, WARM_SET
from kube.client import ApiError, Client
from kube.resources import POD
from tests.support import kserve
from tests.support.control import REVISION, TEAM, Control, make_model, pod
from tests.support.installation import eventually


async def test_a_pod_that_asks_is_given_its_weights_and_held(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    created = await cluster.create(POD, pod("asks", annotations={keys.MODEL: "llama"}), namespace=TEAM)
    assert created["spec"]["schedulingGates"] == [{"name": keys.GATE}]
    assert created["metadata"]["labels"] == {keys.MANAGED_LABEL: "true"}
    (volume,) = created["spec"]["volumes"]
    assert volume["csi"] == {
        "driver": keys.CSI_DRIVER,
        "readOnly": True,
        "volumeAttributes": {keys.ATTRIBUTE_MODEL: "team/llama", keys.ATTRIBUTE_REVISION: REVISION},
    }
    (container,) = created["spec"]["containers"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/models/llama", "readOnly": True}]
    assert container["env"] == [{"name": keys.ENV_MODEL_PATH, "value": "/models/llama"}]
    # The API server itself holds it until the gate is gone.
    (condition,) = [c for c in created["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert condition["reason"] == "SchedulingGated"


@pytest.mark.parametrize("annotations", [None, {"other": "annotation"}])
async def test_a_pod_that_does_not_ask_is_untouched(
    control: Control, cluster: Client, annotations: dict[str, str] | None
) -> None:
    body = pod("plain", annotations=annotations)
    if annotations is None:
        del body["metadata"]["annotations"]
    created = await cluster.create(POD, body, namespace=TEAM)
    assert "schedulingGates" not in created["spec"]
    assert not created["spec"].get("volumes")
    assert keys.MANAGED_LABEL not in created["metadata"].get("labels", {})


async def test_a_pod_that_cannot_be_served_is_refused_with_words_that_help(control: Control, cluster: Client) -> None:
    with pytest.raises(ApiError) as refused:
        await cluster.create(POD, pod("asks", annotations={keys.MODEL: "nosuch"}), namespace=TEAM)
    assert "Model 'team/nosuch' does not exist" in refused.value.message
    assert "create the Model" in refused.value.message


async def test_a_dry_run_leaves_nothing_behind(control: Control, cluster: Client) -> None:
    body = pod("asks", annotations={keys.MODEL: "oci://127.0.0.1:9/models/llama:v1"})
    path = POD.path(namespace=TEAM)
    await cluster._call("POST", path, query={"dryRun": "All"}, body=body)
    await asyncio.sleep(0.5)
    assert await cluster.list(MODEL) == []


async def test_a_bare_reference_gets_a_model_and_a_warm_set_that_its_owner_owns(
    control: Control, cluster: Client
) -> None:
    source = "oci://127.0.0.1:9/models/llama:v1"
    created = await cluster.create(POD, pod("asks", annotations={keys.MODEL: source}), namespace=TEAM)
    (volume,) = created["spec"]["volumes"]
    name = volume["csi"]["volumeAttributes"][keys.ATTRIBUTE_MODEL].partition("/")[2]

    async def made() -> bool:
        return bool(await cluster.list(MODEL) and await cluster.list(WARM_SET))

    await eventually(made, what="Model and WarmSet")
    (model,), (warm_set,) = await cluster.list(MODEL), await cluster.list(WARM_SET)
    assert (model["metadata"]["name"], model["spec"]["source"]) == (name, source)
    assert warm_set["spec"]["models"] == [name]
    assert warm_set["spec"]["placement"] == {"workload": {"apiVersion": "v1", "kind": "Pod", "name": "asks"}}
    for obj in (model, warm_set):
        assert [o["uid"] for o in obj["metadata"]["ownerReferences"]] == [created["metadata"]["uid"]]


async def test_a_model_that_cannot_be_resolved_says_why(control: Control, cluster: Client) -> None:
    body = {
        "apiVersion": "warmset.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "far"},
        "spec": {"source": "oci://127.0.0.1:1/models/llama:v1"},
    }
    await cluster.create(MODEL, body, namespace=TEAM)

    async def refused() -> bool:
        conditions = (await cluster.get(MODEL, "far", namespace=TEAM)).get("status", {}).get("conditions", [])
        return [(c["status"], c["reason"]) for c in conditions] == [("False", "SourceUnavailable")]

    await eventually(refused, what="Resolved=False")


async def test_kserves_download_stays_out_though_its_webhook_puts_it_back(control: Control, cluster: Client) -> None:
    """KServe's runs before ours, and again since ours has changed the pod; and so does ours."""
    await make_model(cluster)
    async with kserve.injecting(cluster):
        asking = {keys.MODEL: "llama", keys.PATH: "/mnt/models"}
        created = await cluster.create(POD, kserve.served("asks", annotations=asking), namespace=TEAM)
    assert [container["name"] for container in created["spec"]["initContainers"]] == ["theirs"]
    own, weights = created["spec"]["volumes"]
    assert (own["name"], weights["csi"]["driver"]) == ("own", keys.CSI_DRIVER)
    (container,) = created["spec"]["containers"]
    assert {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]} == {
        "/own": "own",
        "/mnt/models": weights["name"],
    }
