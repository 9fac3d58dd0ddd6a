"""The broker (api/broker.py): agents have no right to read Secrets, so they ask here, and whom to share a pull with.

An agent proves its node by a service-account token that is bound to its pod; the API server's TokenReview tells
the node's name (extra authentication.kubernetes.io/node-name, Kubernetes >= 1.32, on by default since 1.30). A
grant is given only for a model and revision that this node's NodeCache names.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from api import keys
from api.broker import Cohort, CohortRequest, Grant, GrantRequest, Peer
from api.cohort import Seat
from api.errors import Forbidden, NotFound, Unauthorized
from api.reference import parse_reference
from api.resources import Model, NodeCache, NodeModel
from cache.origin import Origin
from cache.sources.artifact import Filter
from controller.broker.signing_keys import Signers
from controller.cluster.world import World
from controller.config import Sources
from controller.models.credentials import credential
from controller.models.resolving import known_revision
from controller.objects.resources import NODE_CACHE
from kube.client import ApiError, Client
from kube.resources import TOKEN_REVIEW

_NODE_NAME = "authentication.kubernetes.io/node-name"

log = structlog.get_logger()


class Broker:
    def __init__(
        self, client: Client, world: World, *, sources: Sources, agents: str, signers: Callable[[], Signers]
    ) -> None:
        """``agents`` is the user name of the agents' service account, ``signers`` gives the newest keys."""
        self._client = client
        self._world = world
        self._sources = sources
        self._agents = agents
        self._signers = signers

    async def grant(self, node: str, request: GrantRequest) -> Grant:
        """For the agent on ``node``. Raises Forbidden for the model, or what the Model's credential has wrong."""
        await self._named(node, request)
        model = self._model(request)
        known = known_revision(model, request.revision)
        reference = parse_reference(known.source)
        self._sources.check(reference)
        found = await credential(self._client, model, reference=reference)
        endpoint = found.endpoint if found else ""
        self._sources.check_endpoint(endpoint)
        log.info("grant.given", node=node, model=f"{model.metadata.namespace}/{model.metadata.name}")
        return Grant(
            model=f"{model.metadata.namespace}/{model.metadata.name}",
            source=str(reference),
            revision=request.revision,
            reach=self._sources.reach(reference),
            namespaces=_namespaces(model),
            layout=model.spec.layout,
            include=known.files.include if known.files else [],
            exclude=known.files.exclude if known.files else [],
            sha256=known.sha256,
            tree=model.status.tree if known.unhashed and request.revision == model.status.revision else "",
            credential=found,
            current=request.revision == model.status.revision,
            plain_http=self._sources.without_tls(reference, endpoint=endpoint),
        )

    async def cohort(self, node: str, request: CohortRequest) -> Cohort:
        """For the agent on ``node``, which has the key it names. Raises NotFound where it pulls alone, or as grant."""
        entry = await self._named(node, request)
        seat = Seat.parse(entry.cohort)
        if seat is None:
            raise NotFound(f"node {node} is in no cohort for this model")
        known = known_revision(self._model(request), request.revision)
        files = known.files
        wanted = Filter(tuple(files.include), tuple(files.exclude)) if files else Filter()
        now = datetime.now(UTC)
        capability = (
            self._signers()
            .signer(now)
            .sign(
                client=request.key,
                exchange=Origin(parse_reference(known.source), wanted).exchange,
                now=now.timestamp(),
            )
        )
        peers = self._peers(seat.cohort, request, without=node)
        above = self._peers(seat.above, request, without=node) if seat.above else []
        return Cohort(seat=str(seat), capability=capability, peers=peers, above=above)

    def _peers(self, cohort: str, request: CohortRequest, *, without: str) -> list[Peer]:
        found = []
        for name, theirs in self._world.seats.of((request.model, request.revision)).items():
            agent = self._world.caches[name].status.agent
            if name != without and theirs.cohort == cohort and theirs.number is not None and agent.key:
                found.append(Peer(seat=theirs.number, node=name, address=agent.address, key=agent.key))
        return sorted(found, key=lambda peer: peer.seat)

    def _model(self, request: GrantRequest | CohortRequest) -> Model:
        model = self._world.models_by_hash.get(request.model)
        if model is None:
            raise NotFound("the Model does not exist any more")
        return model

    async def node_of(self, token: str) -> str:
        """The node that the token proves. Raises Unauthorized, or Forbidden where it proves something else."""
        body = {"spec": {"token": token, "audiences": [keys.BROKER_AUDIENCE]}}
        status: dict[str, Any] = (await self._client.create(TOKEN_REVIEW, body)).get("status") or {}
        user = status.get("user") or {}
        if not status.get("authenticated") or keys.BROKER_AUDIENCE not in (status.get("audiences") or ()):
            raise Unauthorized("the token is not valid for this broker")
        if user.get("username") != self._agents:
            raise Forbidden("only node agents are served")
        names = (user.get("extra") or {}).get(_NODE_NAME) or []
        if len(names) != 1:
            raise Forbidden("the token is not bound to a pod on a node", hint="Kubernetes 1.30 or newer is needed")
        return str(names[0])

    async def _named(self, node: str, request: GrantRequest | CohortRequest) -> NodeModel:
        """What the node's NodeCache says of the model. Raises Forbidden where it says nothing."""
        if (entry := _entry(self._world.caches.get(node), request)) is not None:
            return entry
        # Our copy may be older than what the agent has read.
        try:
            newest = msgspec.convert(await self._client.get(NODE_CACHE, node), type=NodeCache)
        except ApiError as error:
            if error.status != 404:
                raise
            newest = None
        if (entry := _entry(newest, request)) is None:
            raise Forbidden(f"the NodeCache of {node} does not name this model and revision")
        return entry


def _entry(cache: NodeCache | None, request: GrantRequest | CohortRequest) -> NodeModel | None:
    wanted = (request.model, request.revision, "Present")
    entries = cache.spec.models if cache is not None else []
    return next((entry for entry in entries if (entry.model, entry.revision, entry.desired) == wanted), None)


def _namespaces(model: Model) -> list[str]:
    return sorted({model.metadata.namespace, *model.spec.allowed_namespaces})
