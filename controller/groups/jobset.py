"""JobSet (jobset.x-k8s.io/v1alpha2), and by it TrainJob (trainer.kubeflow.org): one replicated Job is one group.

Not the whole JobSet: with ``dependsOn`` or ``startupPolicy: InOrder`` later Jobs are made only when earlier ones are
Ready. The job-key survives a restart of the JobSet; ``restart-attempt`` tells them apart.

With exclusive topology the followers are refused until the leader (completion index 0) is scheduled, and then get its
domain as nodeSelector; exclusive against Jobs of all namespaces. The other strategy, ``node-selector``, has named the
nodes by labels beforehand. A TrainJob's model-initializer downloads by itself: on its own, whatever it asks for.
"""

from __future__ import annotations

from controller.groups import single
from controller.groups.member import GroupMember, Subject, whole_number
from controller.groups.workloads import declared

_PREFIX = "jobset.sigs.k8s.io/"
_ALPHA = "alpha.jobset.sigs.k8s.io/"
INITIALIZERS = ("dataset-initializer", "model-initializer")


def resolve(subject: Subject) -> GroupMember | None:
    labels, annotations = subject.labels, subject.annotations
    if _PREFIX + "jobset-name" not in labels:
        return None
    if labels.get(_PREFIX + "replicatedjob-name") in INITIALIZERS:
        return single.member(subject, system="jobset")
    index = whole_number(labels.get("batch.kubernetes.io/job-completion-index"), least=0)
    named_beforehand = annotations.get(_ALPHA + "node-selector") == "true"
    topology_key = "" if named_beforehand else annotations.get(_ALPHA + "exclusive-topology", "")
    job = labels.get("batch.kubernetes.io/job-name", "")
    attempts = (labels.get(_PREFIX + name, "") for name in ("jobset-uid", "restart-attempt", "job-restart-attempt"))
    return GroupMember(
        system="jobset",
        namespace=subject.namespace,
        key=labels.get(_PREFIX + "job-key") or job,
        name=job,
        size=declared(subject) or 1,
        index=index,
        leader=index == 0,
        incarnation="/".join(attempts),
        topology_key=topology_key,
        exclusive=bool(topology_key),
    )
