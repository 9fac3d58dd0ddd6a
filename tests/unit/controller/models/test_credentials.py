"""The credential of a source's host out of a Secret, and nothing of the Secret in any message."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import pytest

from api.errors import InvalidRequest, Unauthorized
from api.fields import ObjectMeta
from api.reference import parse_reference
from api.resources import Model, ModelSpec, SecretRef
from controller.models.credentials import credential, for_host
from kube.client import ApiError, Client

PASSWORD = "hunter2-canary"
REFERENCE = parse_reference("oci://r.example:5000/models/llama:v1")


def secret(config: Any) -> dict[str, Any]:
    text = config if isinstance(config, str) else json.dumps(config)
    return {"data": {".dockerconfigjson": base64.b64encode(text.encode()).decode()}}


def auth(user: str = "reader") -> str:
    return base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    "entry", [{"auth": auth()}, {"username": "reader", "password": PASSWORD}, {"auth": auth(), "username": "ignored"}]
)
def test_the_entry_of_the_sources_host_is_taken(entry: dict[str, str]) -> None:
    config = {"auths": {"other.example": {"auth": auth("other")}, "r.example:5000": entry}}
    found = for_host(secret(config), REFERENCE, name="team/login")
    assert (found.host, found.username, found.password) == ("r.example:5000", "reader", PASSWORD)


def test_a_server_may_be_written_as_an_address() -> None:
    config = {"auths": {"https://r.example:5000/v2/": {"identitytoken": "token"}}}
    assert for_host(secret(config), REFERENCE, name="x").identity_token == "token"


def test_docker_hub_has_several_names() -> None:
    config = {"auths": {"https://index.docker.io/v1/": {"auth": auth()}}}
    found = for_host(secret(config), parse_reference("oci://docker.io/library/x:1"), name="x")
    assert found.username == "reader"


def test_another_hosts_login_is_never_given() -> None:
    with pytest.raises(Unauthorized) as refused:
        for_host(secret({"auths": {"r.example": {"auth": auth()}}}), REFERENCE, name="team/login")
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"data": {}},
        {"data": {".dockerconfigjson": "%%%"}},
        secret(PASSWORD),
        secret({"auths": [PASSWORD]}),
        secret({"auths": {"r.example:5000": PASSWORD}}),
        secret({"auths": {"r.example:5000": {"auth": PASSWORD}}}),
    ],
)
def test_an_unreadable_secret_is_named_and_not_quoted(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        for_host(broken, REFERENCE, name="team/login")
    assert "team/login" in refused.value.message
    assert PASSWORD not in f"{refused.value} {refused.value.__cause__}"


class Secrets:
    """Of namespace team, by name; any other is not there."""

    def __init__(self, **secrets: dict[str, Any]) -> None:
        self._secrets = secrets

    async def get(self, resource: Any, name: str, *, namespace: str) -> dict[str, Any]:
        if namespace != "team" or name not in self._secrets:
            raise ApiError(404, "NotFound", "")
        return self._secrets[name]


def model(**spec: Any) -> Model:
    meta = ObjectMeta(name="llama", namespace="team")
    return Model(metadata=meta, spec=ModelSpec(source="oci://r.example:5000/models/llama:v1", **spec))


OURS = secret({"auths": {"r.example:5000": {"auth": auth()}}})
OTHERS = secret({"auths": {"other.example": {"auth": auth("other")}}})


async def test_of_several_pull_secrets_the_first_with_a_login_for_the_host_is_taken() -> None:
    client = cast("Client", Secrets(others=OTHERS, ours=OURS))
    found = await credential(client, model(pull_secrets=["gone", "others", "ours"]), reference=REFERENCE)
    assert found is not None
    assert found.username == "reader"


async def test_pull_secrets_for_other_hosts_leave_the_source_anonymous() -> None:
    client = cast("Client", Secrets(others=OTHERS))
    assert await credential(client, model(pull_secrets=["others"]), reference=REFERENCE) is None


async def test_a_secret_named_for_the_model_has_to_have_its_login() -> None:
    client = cast("Client", Secrets(others=OTHERS))
    with pytest.raises(Unauthorized):
        await credential(client, model(secret_ref=SecretRef(name="others")), reference=REFERENCE)
