"""Resolves Models: what the reference means is asked once a generation, and all nodes get that revision.

A tag that moves later changes nothing; a new generation of the Model (an edited spec) asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import structlog

from api.broker import SourceCredential
from api.digest import Digest
from api.errors import NotFound, WarmsetError
from api.reference import Reference, parse_reference
from api.resources import KnownRevision, Model, ModelStatus
from cache.sources import Credential, SourceOptions
from cache.sources.options import REACH
from cache.sources.resolve import resolve
from cache.sources.source import Resolved
from controller.config import Sources
from controller.models.credentials import credential
from controller.objects.conditions import condition, with_condition
from controller.objects.resources import MODEL
from kube.client import Client

RESOLVED, VERIFIED = "Resolved", "Verified"
RESOLVE_TIMEOUT_S = 60.0
MOST_KNOWN = 16  # revisions; pods seldom live through more of them

log = structlog.get_logger()


def is_resolved(model: Model) -> bool:
    """Whether the status speaks of the spec as it is now, and knows a revision."""
    return bool(model.status.revision) and model.status.observed_generation == model.metadata.generation


def problem(model: Model) -> tuple[str, str] | None:
    """Reason and message why the Model has no revision yet, or None."""
    if is_resolved(model):
        return None
    found = condition(model.status.conditions, RESOLVED)
    name = f"{model.metadata.namespace}/{model.metadata.name}"
    if found is None or found.observed_generation != model.metadata.generation:
        return "ModelNotResolved", f"Model {name} is being resolved"
    return found.reason, f"Model {name}: {found.message}"


async def reconcile(client: Client, model: Model, *, sources: Sources) -> WarmsetError | None:
    """Resolve the Model where its present generation was not, and write its status.

    Returns the failure, which then stands in the status too; raises ApiError or ClusterUnavailable.
    """
    if is_resolved(model):
        return None
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            status = _success(model, await _ask(client, model, sources=sources))
        failure = None
    except WarmsetError as error:
        status, failure = _failure(model, error), error
    except TimeoutError:
        failure = WarmsetError(f"the source did not answer within {RESOLVE_TIMEOUT_S:.0f} s")
        status = _failure(model, failure)
    if status != model.status:
        await write(client, model, status)
        log.info(
            "model.resolved" if failure is None else "model.not_resolved",
            model=f"{model.metadata.namespace}/{model.metadata.name}",
            revision=status.revision,
            reason=failure.reason if failure else "",
        )
    return failure


def verified(model: Model, trees: Iterable[str]) -> ModelStatus:
    """The status when nodes report the revision Ready with these trees.

    A node is Ready only after it has hashed every byte against what the source's manifest names. The tree of an
    archive is known only then; it is taken when all nodes that report one agree, and never changed afterwards.
    """
    found = set(trees)
    if not found or condition(model.status.conditions, VERIFIED) is not None or len(found) > 1:
        return model.status
    (tree,) = found
    if model.status.tree not in ("", tree):
        return model.status
    conditions = with_condition(
        model.status.conditions,
        VERIFIED,
        status="True",
        reason=VERIFIED,
        message="a node holds it with every byte checked",
        generation=model.metadata.generation,
        now=datetime.now(UTC),
    )
    return msgspec.structs.replace(model.status, tree=tree, conditions=conditions)


def known_revision(model: Model, revision: str) -> KnownRevision:
    """Where this revision comes from: what it was resolved from, whatever the spec says by now.

    Raises NotFound for a revision that the Model never had: what a volume names is up to whoever writes the pod.
    """
    for known in model.status.known:
        if known.revision == revision:
            return known
    if is_resolved(model) and revision == model.status.revision:
        source = str(parse_reference(model.spec.source).pinned(revision))
        return KnownRevision(revision=revision, source=source, files=model.spec.files, sha256=model.spec.sha256)
    raise NotFound(
        f"Model {model.metadata.namespace}/{model.metadata.name} never had revision {revision[:80]}, or long ago",
        hint="delete the pod; a new one gets the present revision",
    )


def source_options(found: SourceCredential | None, *, reference: Reference, sources: Sources) -> SourceOptions:
    login = None
    if found is not None:
        login = Credential(
            host=found.host,
            username=found.username,
            password=found.password,
            identity_token=found.identity_token,
            endpoint=found.endpoint,
            region=found.region,
        )
        sources.check_endpoint(found.endpoint)
    return SourceOptions(
        credential=login, plain_http=frozenset(sources.plain_http), reach=REACH[sources.reach(reference)]
    )


async def _ask(client: Client, model: Model, *, sources: Sources) -> Resolved:
    reference = parse_reference(model.spec.source)
    sources.check(reference)
    options = replace(
        source_options(await credential(client, model, reference=reference), reference=reference, sources=sources),
        platform=model.spec.platform,
        artifact_type=model.spec.artifact_type,
    )
    files = model.spec.files
    include, exclude = (files.include, files.exclude) if files else ([], [])
    resolved = await asyncio.to_thread(resolve, reference, options=options, include=include, exclude=exclude)
    fixed = {path: Digest(digest) for path, digest in model.spec.sha256.items()}
    return replace(resolved, artifact=resolved.artifact.fixed(fixed))


def _success(model: Model, resolved: Resolved) -> ModelStatus:
    now = KnownRevision(
        revision=resolved.revision,
        source=str(resolved.reference),
        bytes=resolved.bytes,
        files=model.spec.files,
        sha256=model.spec.sha256,
        unhashed=sum(1 for file in resolved.artifact.unhashed if not file.git_sha1),
    )
    before = [known for known in model.status.known if known.revision != resolved.revision]
    return ModelStatus(
        known=[now, *before][:MOST_KNOWN],
        observed_generation=model.metadata.generation,
        revision=resolved.revision,
        bytes=resolved.bytes,
        files=resolved.files,
        # Arranged otherwise it is another tree, which the first node tells.
        tree=str(resolved.tree.digest) if resolved.tree and model.spec.layout == "plain" else "",
        # Verified spoke of the revision before.
        conditions=with_condition(
            (c for c in model.status.conditions if c.type != VERIFIED),
            RESOLVED,
            status="True",
            reason=RESOLVED,
            message=f"{resolved.reference}",
            generation=model.metadata.generation,
            now=datetime.now(UTC),
        ),
    )


def _failure(model: Model, error: WarmsetError) -> ModelStatus:
    """An earlier generation's revision stays: pods that have it in their volumes still need it."""
    conditions = with_condition(
        model.status.conditions,
        RESOLVED,
        status="False",
        reason=error.reason,
        message=f"{error.message}; {error.hint}" if error.hint else error.message,
        generation=model.metadata.generation,
        now=datetime.now(UTC),
    )
    return msgspec.structs.replace(model.status, conditions=conditions)


async def write(client: Client, model: Model, status: ModelStatus) -> None:
    body = msgspec.to_builtins(msgspec.structs.replace(model, status=status))
    await client.replace(MODEL, body, subresource="status")
