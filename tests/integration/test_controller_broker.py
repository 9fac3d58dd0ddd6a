"""The broker asked with real tokens: bound to a pod on a node, for the broker's audience, or not."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from api import keys
from api.broker import Grant, GrantRequest
from api.errors import SecretNotGranted
from api.node import NodeError
from api.reference import parse_reference
from api.resources import Model
from controller.models.credentials import credential
from controller.objects.resources import MODEL
from kube.client import ApiError, Client, Object
from kube.resources import CONFIG_MAP, POD, SECRET, SERVICE_ACCOUNT
from tests.support.control import HOME, REVISION, TEAM, Control, controlling, make_model, make_node, pod, wanted_on
from tests.support.controlplane import ControlPlane
from tests.support.installation import eventually, service_account_token

HASH = keys.model_key(TEAM, "llama")
AGENTS = "warmset-node"


@pytest.fixture
async def control(cluster: Client) -> AsyncIterator[Control]:
    async with controlling(cluster) as control:
        for name in (AGENTS, "somebody"):
            await cluster.patch(
                SERVICE_ACCOUNT,
                name,
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
                namespace=HOME,
                kind="apply",
            )
        await make_node(cluster, "n1")
        await make_node(cluster, "n2")
        yield control


async def ask(
    control: Control, token: str, *, model: str = HASH, revision: str = REVISION
) -> tuple[int, Grant | NodeError]:
    bundle = await control.client.get(CONFIG_MAP, "warmset-ca", namespace=HOME)
    tls = ssl.create_default_context(cadata=bundle["data"]["ca.crt"])
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"https://127.0.0.1:{control.https}/v1/grants",
            data=msgspec.json.encode(GrantRequest(model=model, revision=revision)),
            headers={"Authorization": f"Bearer {token}"},
            ssl=tls,
        ) as response,
    ):
        body = await response.read()
        kind: Any = Grant if response.status == 200 else NodeError
        return response.status, msgspec.json.decode(body, type=kind)


async def agent_token(client: Client, node: str, *, account: str = AGENTS, audience: str = keys.BROKER_AUDIENCE) -> str:
    body = pod(f"agent-{node}", nodeName=node, serviceAccountName=account)
    bound = await client.create(POD, body, namespace=HOME)
    return await service_account_token(client, account, bound_to=bound, audience=audience, namespace=HOME)


async def land(client: Client, node: str) -> None:
    """Have the NodeCache of ``node`` name the model."""
    await client.create(POD, pod("user", annotations={keys.MODEL: "llama"}, nodeName=node), namespace=TEAM)

    async def named() -> bool:
        return bool(await wanted_on(client, node))

    await eventually(named, what=f"the model in the NodeCache of {node}")


async def test_an_agent_is_granted_what_its_nodecache_names(control: Control, cluster: Client) -> None:
    await make_model(cluster, allowedNamespaces=["other"], files={"include": ["*.safetensors"]})
    await land(cluster, "n1")
    status, grant = await ask(control, await agent_token(cluster, "n1"))
    assert status == 200
    assert grant == Grant(
        model="team/llama",
        source=f"oci://127.0.0.1:9/models/llama:v1@{REVISION}",
        revision=REVISION,
        namespaces=["other", "team"],
        include=["*.safetensors"],
        reach="anywhere",
        plain_http=True,
    )


async def test_the_credential_of_the_sources_host_comes_with_it(control: Control, cluster: Client) -> None:
    auth = base64.b64encode(b"reader:s3cret").decode()
    config = {"auths": {"127.0.0.1:9": {"auth": auth}, "other.example": {"auth": auth}}}
    secret: Object = {
        "metadata": {"name": "login"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps(config)},
    }
    await cluster.create(SECRET, secret, namespace=TEAM)
    try:
        await make_model(cluster, secretRef={"name": "login"})
        await land(cluster, "n1")
        _, grant = await ask(control, await agent_token(cluster, "n1"))
        assert isinstance(grant, Grant)
        assert grant.credential is not None
        found = grant.credential
        assert (found.host, found.username, found.password) == ("127.0.0.1:9", "reader", "s3cret")
        assert "s3cret" not in repr(grant)
    finally:
        await cluster.delete(SECRET, "login", namespace=TEAM)


async def test_another_nodes_agent_is_refused(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await land(cluster, "n1")
    status, error = await ask(control, await agent_token(cluster, "n2"))
    assert (status, error.reason if isinstance(error, NodeError) else "") == (403, "Forbidden")


async def test_a_revision_that_the_nodecache_does_not_name_is_refused(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await land(cluster, "n1")
    status, _ = await ask(control, await agent_token(cluster, "n1"), revision="sha256:" + "c" * 64)
    assert status == 403


@pytest.mark.parametrize("kind", ["unbound", "wrong audience", "wrong account", "nonsense"])
async def test_a_token_that_does_not_prove_a_node_is_refused(control: Control, cluster: Client, kind: str) -> None:
    await make_model(cluster)
    await land(cluster, "n1")
    token, expected = "nonsense", 401
    if kind == "unbound":
        token = await service_account_token(cluster, AGENTS, audience=keys.BROKER_AUDIENCE, namespace=HOME)
        expected = 403
    elif kind == "wrong audience":
        token = await agent_token(cluster, "n1", audience="")
    elif kind == "wrong account":
        token, expected = await agent_token(cluster, "n1", account="somebody"), 403
    status, _ = await ask(control, token)
    assert status == expected


async def test_a_model_that_is_gone_is_not_granted(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await land(cluster, "n1")
    token = await agent_token(cluster, "n1")
    await cluster.delete(MODEL, "llama", namespace=TEAM)

    async def refused() -> bool:
        return (await ask(control, token))[0] in (403, 404)

    await eventually(refused, what="no grant")


async def test_the_authority_is_published_and_the_secret_holds_the_key(control: Control, cluster: Client) -> None:
    bundle = await cluster.get(CONFIG_MAP, "warmset-ca", namespace=HOME)
    assert "PRIVATE KEY" not in json.dumps(bundle)
    assert (await cluster.get(SECRET, "warmset-tls", namespace=HOME))["data"].keys() >= {"tls.crt", "tls.key"}
    with pytest.raises(ApiError):
        await cluster.get(SECRET, "warmset-tls", namespace=TEAM)


async def test_a_secret_that_the_namespace_does_not_grant_is_said_to_be_so(
    control: Control, cluster: Client, control_plane: ControlPlane
) -> None:
    token = await service_account_token(cluster, "somebody", namespace=HOME)
    kubeconfig = control_plane.kubeconfig_for(token, name="somebody")
    model = msgspec.convert(await make_model(cluster, secretRef={"name": "login"}), type=Model)
    async with await Client.connect(kubeconfig=kubeconfig) as unprivileged:
        with pytest.raises(SecretNotGranted) as refused:
            await credential(unprivileged, model, reference=parse_reference(model.spec.source))
    assert "warmset-secret-reader" in refused.value.hint


async def test_a_secret_without_a_login_for_the_host_is_not_taken_for_a_bad_token(
    control: Control, cluster: Client
) -> None:
    empty = json.dumps({"auths": {}})
    secret: Object = {
        "metadata": {"name": "login"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": empty},
    }
    await cluster.create(SECRET, secret, namespace=TEAM)
    try:
        await make_model(cluster, secretRef={"name": "login"})
        await land(cluster, "n1")
        status, error = await ask(control, await agent_token(cluster, "n1"))
        assert (status, error.reason if isinstance(error, NodeError) else "") == (422, "Unauthorized")
    finally:
        await cluster.delete(SECRET, "login", namespace=TEAM)
