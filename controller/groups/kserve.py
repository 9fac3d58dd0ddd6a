"""KServe: InferenceService (serving.kserve.io/v1beta1), and LLMInferenceService (v1alpha2) of one node.

A multi-node InferenceService is two Deployments, head and workers, both labelled ``isvc.generation``: old and new
generation live side by side in a rollout, each its own group. The size is RAY_NODE_COUNT on the head's container; its
workers do not carry it, and are one less. A multi-node LLMInferenceService is a LeaderWorkerSet (lws.py); pods of its
serverless mode are on their own like all others here.
"""

from __future__ import annotations

from controller.groups import single
from controller.groups.member import GroupMember, Subject, whole_number

_WORKER = "-predictor-worker"


def resolve(subject: Subject) -> GroupMember | None:
    labels = subject.labels
    service = labels.get("serving.kserve.io/inferenceservice")
    if not service:
        if labels.get("app.kubernetes.io/part-of") != "llminferenceservice":
            return None
        return single.member(subject, system="kserve", revision=labels.get("pod-template-hash", ""))
    generation = labels.get("isvc.generation", "")
    works = labels.get("app", "").endswith(_WORKER)
    nodes = _node_count(subject)
    if not generation or not (works or nodes) or "serving.knative.dev/revision" in labels:
        revision = labels.get("serving.knative.dev/revision") or labels.get("pod-template-hash", "")
        return single.member(subject, system="kserve", revision=revision)
    return GroupMember(
        system="kserve",
        namespace=subject.namespace,
        key=service,
        name=service,
        size=_workers(subject) + 1 if works else nodes or 1,
        index=None if works else 0,
        leader=not works,
        revision=generation,
    )


def _node_count(subject: Subject) -> int | None:
    variables = (v for c in subject.pod["spec"].get("containers") or () for v in c.get("env") or ())
    return next((whole_number(v.get("value"), least=1) for v in variables if v["name"] == "RAY_NODE_COUNT"), None)


def _workers(subject: Subject) -> int:
    deployment = subject.owner("Deployment", group="apps")
    return max(1, int(deployment.spec.get("replicas", 1))) if deployment is not None else 1
