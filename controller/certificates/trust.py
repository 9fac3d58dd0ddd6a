"""Keeps the certificate where it is needed: the Secret, this process's TLS, the webhook's caBundle, the agents' CA."""

from __future__ import annotations

import base64
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from cache.exchange.authority.capability import write_keys
from controller.broker import signing_keys
from controller.broker.signing_keys import Signers
from controller.certificates.authority import Bundle, renewed
from controller.config import Config
from kube.client import ApiError, Client
from kube.resources import CONFIG_MAP, MUTATING_WEBHOOK, SECRET, Resource

SECRET_NAME = "warmset-tls"  # noqa: S105 (a name)
CA_NAME = "warmset-ca"
CA_KEY = "ca.crt"
SIGNERS_KEY = "exchange.keys"  # private in the Secret, public in the ConfigMap

_FIELDS = {
    "authority": "authority.crt",
    "authority_key": "authority.key",
    "certificate": "tls.crt",
    "key": "tls.key",
    "trusted": CA_KEY,
}

log = structlog.get_logger()


class Trust:
    """``tls`` is the context to serve with; ``refresh`` loads a renewed certificate into it for new connections.

    ``signers`` sign capabilities, as of the last ``refresh``.
    """

    def __init__(self, client: Client, config: Config) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.webhook_client_ca:
            self.tls.verify_mode = ssl.CERT_OPTIONAL  # agents have none; they show the broker a token
            self.tls.load_verify_locations(cadata=config.webhook_client_ca)
        self._client = client
        self._config = config
        self._loaded = b""
        self.signers = signing_keys.renewed(None, now=datetime.now(UTC))

    async def refresh(self) -> Bundle:
        """Read the Secret, renew where it is time, and serve with it. Where replicas race, its version decides."""
        while True:
            secret = await _get(self._client, SECRET, SECRET_NAME, self._config.namespace)
            before = _bundle(secret)
            known, now = _signers(secret), datetime.now(UTC)
            after = renewed(before, hosts=self._hosts(), now=now)
            self.signers = signing_keys.renewed(known, now=now)
            try:
                if after is not before or self.signers is not known:
                    await self._write(secret, after)
                    log.info("certificate.renewed", certificate=repr(after), signers=sorted(self.signers.public))
                break
            except ApiError as error:
                if error.status != 409:
                    raise
        if after.certificate != self._loaded:
            _load(self.tls, after)
            self._loaded = after.certificate
        return after

    async def publish(self, bundle: Bundle) -> None:
        """Tell the API server and the agents whom to trust. The leader's work."""
        await self._publish_config_map(bundle)
        name = self._config.webhook_configuration
        try:
            configuration = await self._client.get(MUTATING_WEBHOOK, name)
        except ApiError as error:
            if error.status == 404:
                log.warning("webhook.not_configured", name=name)
                return
            raise
        encoded = base64.b64encode(bundle.trusted).decode()
        patch: list[dict[str, Any]] = [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": encoded}
            for index, webhook in enumerate(configuration.get("webhooks") or ())
            if webhook["clientConfig"].get("caBundle") != encoded
        ]
        if patch:
            version = configuration["metadata"]["resourceVersion"]
            guard = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
            await self._client.patch(MUTATING_WEBHOOK, name, [guard, *patch], kind="json")
            log.info("webhook.trusted", name=name)

    def _hosts(self) -> tuple[str, ...]:
        service = f"{self._config.service}.{self._config.namespace}"
        return (f"{service}.svc", f"{service}.svc.cluster.local", *self._config.certificate_hosts)

    async def _write(self, secret: dict[str, Any] | None, bundle: Bundle) -> None:
        content = {name: getattr(bundle, attribute) for attribute, name in _FIELDS.items()}
        content[SIGNERS_KEY] = bytes(self.signers)
        data = {name: base64.b64encode(text).decode() for name, text in content.items()}
        if secret is not None:
            await self._client.replace(SECRET, {**secret, "data": data})
            return
        body = {"metadata": {"name": SECRET_NAME, "namespace": self._config.namespace}, "type": "Opaque", "data": data}
        await self._client.create(SECRET, body, namespace=self._config.namespace)

    async def _publish_config_map(self, bundle: Bundle) -> None:
        namespace = self._config.namespace
        found = await _get(self._client, CONFIG_MAP, CA_NAME, namespace)
        data = {CA_KEY: bundle.trusted.decode(), SIGNERS_KEY: write_keys(self.signers.public)}
        if found is None:
            body = {"metadata": {"name": CA_NAME, "namespace": namespace}, "data": data}
            await self._client.create(CONFIG_MAP, body, namespace=namespace)
        elif found.get("data") != data:
            await self._client.replace(CONFIG_MAP, {**found, "data": data})


async def _get(client: Client, resource: Resource, name: str, namespace: str) -> dict[str, Any] | None:
    try:
        return await client.get(resource, name, namespace=namespace)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _bundle(secret: dict[str, Any] | None) -> Bundle | None:
    """What the Secret holds; None where the chart has made it and nobody filled it yet."""
    data = (secret or {}).get("data") or {}
    if not all(name in data for name in _FIELDS.values()):
        return None
    return Bundle(**{attribute: base64.b64decode(data[name]) for attribute, name in _FIELDS.items()})


def _signers(secret: dict[str, Any] | None) -> Signers | None:
    data = (secret or {}).get("data") or {}
    return Signers.parse(base64.b64decode(data.get(SIGNERS_KEY, "")))


def _load(tls: ssl.SSLContext, bundle: Bundle) -> None:
    # The ssl module reads files only; the key never rests on a disk (memfd), nor under a name.
    descriptor = os.memfd_create("warmset-tls")
    try:
        os.write(descriptor, bundle.certificate + bundle.key)
        tls.load_cert_chain(Path(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)
