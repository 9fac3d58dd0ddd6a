"""Which models, at which revision, a pod or a WarmSet may have: names looked up, and authority checked.

A pod's volumes say what it mounts; whether its namespace may have that is the Model's to say, and asked every
time, because anybody may write a volume into his pod. What may not be had, or not yet, is wanted at no revision:
nothing is pulled for it, and no node is warm without it; the others are pulled meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from api.resources import Model, WarmSet
from controller.models.resolving import is_resolved, problem
from controller.models.wanted import Problem, Wanted
from controller.objects.pods import MountedModel, Mounting, Pod, models


def may_use(model: Model, *, namespace: str) -> bool:
    """Whether pods of ``namespace`` may mount the model."""
    allowed = model.spec.allowed_namespaces
    return model.metadata.namespace == namespace or namespace in allowed or "*" in allowed


def of_pods(pods: Iterable[Pod], known: Mapping[str, Model]) -> tuple[tuple[Wanted, ...], Problem | None]:
    """What all the pods want together, and the first problem."""
    return _all({(pod["metadata"]["namespace"], mount) for pod in pods for mount in models(pod)}, known)


def of_warm_set(warm_set: WarmSet, known: Mapping[str, Model]) -> tuple[tuple[Wanted, ...], Problem | None]:
    return of_names(names(warm_set), namespace=warm_set.metadata.namespace, known=known)


def names(warm_set: WarmSet) -> list[str]:
    """Its models as ``namespace/name``."""
    namespace = warm_set.metadata.namespace
    return [name if "/" in name else f"{namespace}/{name}" for name in warm_set.spec.models]


def of_names(
    models: Iterable[str], *, namespace: str, known: Mapping[str, Model]
) -> tuple[tuple[Wanted, ...], Problem | None]:
    """Models as ``namespace/name``, at their present revision, for pods of ``namespace``."""
    return _all({(namespace, MountedModel(model)) for model in models}, known)


def landing(mounting: Mounting, known: Mapping[str, Model]) -> list[Wanted]:
    """What a bound pod may have on its node; one model's trouble does not keep the others from it."""
    namespace = mounting.pod["metadata"]["namespace"]
    answers = (_one(mount, namespace, known) for mount in mounting.models)
    return [answer for answer in answers if isinstance(answer, Wanted)]


def _all(
    asked: Iterable[tuple[str, MountedModel]], known: Mapping[str, Model]
) -> tuple[tuple[Wanted, ...], Problem | None]:
    """Each with the namespace that asks."""
    answers = [(mount, _one(mount, namespace, known)) for namespace, mount in sorted(asked)]
    found = {Wanted(mount.model, "") if isinstance(answer, Problem) else answer for mount, answer in answers}
    return tuple(sorted(found)), next((answer for _, answer in answers if isinstance(answer, Problem)), None)


def _one(mount: MountedModel, namespace: str, known: Mapping[str, Model]) -> Wanted | Problem:
    model = known.get(mount.model)
    if model is None or not may_use(model, namespace=namespace):
        return Problem("ModelNotFound", f"Model {mount.model} does not exist or namespace {namespace} may not use it")
    trouble = problem(model)
    revision = mount.revision or (model.status.revision if is_resolved(model) else "")
    if not revision:
        return Problem(*(trouble or ("ModelNotResolved", f"Model {mount.model} is being resolved")))
    current = revision == model.status.revision
    size = next((known.bytes for known in model.status.known if known.revision == revision), 0)
    return Wanted(
        model=mount.model,
        revision=revision,
        bytes=model.status.bytes if current else size,
        tree=model.status.tree if current else "",
    )
