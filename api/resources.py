"""The custom resources of group ``warmset.dev``, version ``v1alpha1``, as they stand on the wire.

The CRD files in deploy/chart/crds are generated from these classes (api/crd.py): descriptions, patterns and
bounds written here are what the API server enforces. Sizes are bytes, times are RFC 3339 in UTC, durations
are Go durations such as ``30m``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from api import cohort
from api.fields import (
    Bytes,
    Condition,
    Duration,
    Hash,
    ModelName,
    Name,
    ObjectMeta,
    Priority,
    Revision,
    TreeDigest,
    Wire,
)

GROUP = "warmset.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

# -- Model ------------------------------------------------------------------------------------------------


class SecretRef(Wire):
    name: Annotated[Name, Meta(description="A Secret in the Model's own namespace.")]


Glob = Annotated[str, Meta(max_length=1024)]


class FileSelection(Wire):
    include: Annotated[list[Glob], Meta(max_length=64, description="Globs of files to take; none means all.")] = field(
        default_factory=list
    )
    exclude: Annotated[list[Glob], Meta(max_length=64, description="Globs of files to leave out.")] = field(
        default_factory=list
    )


Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
FixedHashes = Annotated[
    dict[str, Sha256],
    Meta(
        max_length=256,
        description="sha256 of files by path, where the source publishes none (buckets, web servers): nodes then share"
        " them, and take nothing else.",
    ),
]


class KnownRevision(Wire):
    """A revision that the Model has had, and what it was resolved from: an edited spec means something else."""

    revision: Revision
    source: Annotated[str, Meta(description="The reference, pinned to the revision.")]
    bytes: Bytes = 0
    files: FileSelection | None = None
    sha256: FixedHashes = field(default_factory=dict)
    unhashed: Annotated[
        int, Meta(ge=0, description="Files of which nothing tells the content: the first pull fixes the tree.")
    ] = 0


Layout = Literal["plain", "hf"]


class ModelSpec(Wire):
    """Where a model comes from, and who may have it."""

    source: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=2048,
            description="The reference, for example oci://registry.example.com/models/llama:v1.",
        ),
    ]
    secret_ref: Annotated[SecretRef | None, Meta(description="Credential for the source.")] = None
    pull_secrets: Annotated[
        list[Name],
        Meta(
            max_length=16,
            description="As a pod's imagePullSecrets, in the Model's namespace: the first with a login for the source's"
            " host is used, none where none has. Not beside secretRef.",
        ),
    ] = field(default_factory=list)
    files: Annotated[
        FileSelection | None, Meta(description="Which files of the source make the tree. Fixed once a node holds them.")
    ] = None
    sha256: FixedHashes = field(default_factory=dict)
    layout: Annotated[
        Layout,
        Meta(description="How the files are arranged: hf as the Hub's own cache, for HF_HUB_CACHE. Fixed at creation."),
    ] = "plain"
    platform: Annotated[
        str, Meta(max_length=128, description="Which manifest of an index is meant, as os/architecture[/variant].")
    ] = ""
    artifact_type: Annotated[
        str, Meta(max_length=255, description="Which manifest of an index is meant, by its artifactType.")
    ] = ""
    allowed_namespaces: Annotated[
        list[str], Meta(max_length=256, description="Other namespaces whose pods may mount it; '*' for all.")
    ] = field(default_factory=list)


class ModelStatus(Wire):
    """What the source resolved to."""

    observed_generation: int = 0
    revision: Revision = ""
    bytes: Bytes = 0
    files: Annotated[int, Meta(ge=0)] = 0
    tree: TreeDigest = ""
    known: Annotated[list[KnownRevision], Meta(max_length=16, description="Its revisions, the newest first.")] = field(
        default_factory=list
    )
    conditions: list[Condition] = field(default_factory=list)


class Model(Wire):
    """What: one model, from one reference."""

    metadata: ObjectMeta
    spec: ModelSpec
    status: ModelStatus = field(default_factory=ModelStatus)
    api_version: str = API_VERSION
    kind: str = "Model"


# -- WarmSet ----------------------------------------------------------------------------------------------


class GroupPlacement(Wire):
    """Groups of nodes, chosen by the controller."""

    count: Annotated[int, Meta(ge=1, le=10000, description="How many groups to keep warm.")]
    size: Annotated[int, Meta(ge=1, le=10000, description="Nodes in a group.")]
    spare: Annotated[int, Meta(ge=0, le=1000, description="Nodes to warm beside those a group needs.")] = 0
    topology_key: Annotated[
        str, Meta(max_length=316, description="Node label whose value names a domain; a group stays in one.")
    ] = ""
    spread_key: Annotated[
        str,
        Meta(
            max_length=316,
            description="Node label over whose values the groups are spread, as evenly as there is room.",
        ),
    ] = ""


class WorkloadPlacement(Wire):
    """The top-level owner of annotated pods; written by the controller."""

    api_version: str
    kind: str
    name: str
    keep_warm_groups: Annotated[
        int, Meta(ge=0, le=16, description="Groups to keep warm while the workload has fewer, for its scale from zero.")
    ] = 0


class Placement(Wire):
    """Exactly one of the four."""

    node_selector: Annotated[dict[str, str] | None, Meta(description="Every node with these labels.")] = None
    nodes: Annotated[
        Annotated[list[Name], Meta(min_length=1, max_length=256)] | None, Meta(description="Nodes by name.")
    ] = None
    groups: GroupPlacement | None = None
    workload: WorkloadPlacement | None = None


class Retention(Wire):
    """When the models may leave the nodes again."""

    pinned: Annotated[bool, Meta(description="Never evict while this WarmSet exists.")] = False
    ttl_after_last_use: Duration | None = None


class WarmSetSpec(Wire):
    """Which models to hold, and on which nodes."""

    models: Annotated[list[ModelName], Meta(min_length=1, max_length=32, description="Which Models to keep warm.")]
    placement: Placement
    retention: Retention | None = None
    priority: Priority = 0
    images: Annotated[list[str], Meta(max_length=16, description="Engine images to pull beside the weights.")] = field(
        default_factory=list
    )


class Timeline(Wire):
    """When a group reached each stage of its start, RFC 3339; a stage it has not reached, or did not need, is empty."""

    planned: str = ""
    pull_started: str = ""
    first_byte: str = ""
    warm: str = ""
    released: str = ""
    bound: str = ""
    mounted: str = ""


class GroupNode(Wire):
    name: str
    state: str
    bytes_done: Bytes = 0
    bytes_total: Bytes = 0
    reason: str = ""


class WarmGroup(Wire):
    name: str
    domain: str = ""
    ready: bool = False
    nodes: list[GroupNode] = field(default_factory=list)
    timeline: Timeline | None = None


class WarmSetStatus(Wire):
    """How far it is."""

    observed_generation: int = 0
    groups: Annotated[list[WarmGroup], Meta(max_length=64)] = field(default_factory=list)
    groups_left_out: Annotated[int, Meta(ge=0, description="Groups beyond those listed.")] = 0
    groups_ready: int = 0
    groups_desired: int = 0
    nodes_ready: int = 0
    nodes_desired: int = 0
    bytes: Annotated[int, Meta(ge=0, description="Bytes of all its models on one node.")] = 0
    last_used: Annotated[str, Meta(description="When a pod was last seen with one of its models; for retention.")] = ""
    eta: Annotated[str, Meta(description="When the slowest node is expected to be warm.")] = ""
    conditions: list[Condition] = field(default_factory=list)


class WarmSet(Wire):
    """Where: which nodes hold which models."""

    metadata: ObjectMeta
    spec: WarmSetSpec
    status: WarmSetStatus = field(default_factory=WarmSetStatus)
    api_version: str = API_VERSION
    kind: str = "WarmSet"


# -- NodeCache --------------------------------------------------------------------------------------------


class NodeModel(Wire):
    """One model that a node should hold, or (``desired: Absent``) give up."""

    model: Hash
    revision: Revision
    desired: Annotated[
        Literal["Present", "Absent"],
        Meta(description="Absent is the only thing that removes; a missing entry removes nothing."),
    ] = "Present"
    cohort: Annotated[
        str,
        Meta(
            pattern=cohort.PATTERN,
            description="Nodes of the same cohort share one pull: <cohort>/<number of the seat, or ->/<seats>, and"
            " where they read from another cohort /<that cohort>/<its seats>.",
        ),
    ] = ""
    priority: Priority = 0
    pinned: bool = False
    groups: Annotated[
        list[str], Meta(max_length=256, description="Groups whose plan holds this node for this model.")
    ] = field(default_factory=list)


class NodeCacheSpec(Wire):
    """What the node should hold; written by the controller alone."""

    models: Annotated[list[NodeModel], Meta(max_length=256)] = field(default_factory=list)


NodeModelState = Literal["Queued", "Pulling", "Ready", "Failed", "Evicting"]


class NodeModelStatus(Wire):
    model: Hash
    revision: Revision
    state: NodeModelState
    tree: TreeDigest = ""
    bytes_done: Bytes = 0
    bytes_total: Bytes = 0
    bytes_origin: Annotated[int, Meta(ge=0, description="Bytes that came from the source.")] = 0
    bytes_peers: Annotated[int, Meta(ge=0, description="Bytes that came from other nodes.")] = 0
    reason: str = ""
    message: Annotated[str, Meta(max_length=1024)] = ""
    corrupted_at: Annotated[
        str,
        Meta(description="When bytes of it were last found to have rotted on the node's disk; they are fetched again."),
    ] = ""


class AgentInfo(Wire):
    """The agent that wrote this."""

    address: Annotated[str, Meta(description="host:port at which the agent serves peers.")] = ""
    key: Annotated[
        str,
        Meta(pattern=r"^([0-9a-f]{64})?$", description="Hash of the key it proves itself with; empty: it serves none."),
    ] = ""
    version: str = ""


MOST_SET_ASIDE = 16


class PeerSetAside(Wire):
    """A peer from which nothing is taken any more: it served wrong bytes, or does not send what it says it has."""

    peer: Annotated[str, Meta(max_length=253, description="The node, or where there is no cluster its address.")]
    reason: str
    message: Annotated[str, Meta(max_length=1024)] = ""
    at: Annotated[str, Meta(description="When it last was.")] = ""


class NodeCacheStatus(Wire):
    """What the node holds; written by its agent alone."""

    node_uid: Annotated[str, Meta(description="UID of the Node for which this holds; names are reused.")] = (
        msgspec.field(default="", name="nodeUID")
    )
    cache_id: Annotated[str, Meta(description="Identity of the cache's root; a new disk has a new one.")] = (
        msgspec.field(default="", name="cacheID")
    )
    capacity: Bytes = 0
    used: Bytes = 0
    reserved: Bytes = 0
    paused: Annotated[bool, Meta(description="An operator wants no pulls and no evictions there (warmset pause).")] = (
        False
    )
    models: Annotated[list[NodeModelStatus], Meta(max_length=256)] = field(default_factory=list)
    agent: AgentInfo = field(default_factory=AgentInfo)
    peers_set_aside: Annotated[
        list[PeerSetAside],
        Meta(
            max_length=MOST_SET_ASIDE,
            description="Peers that this node takes nothing from any more, since its agent started; the latest ones.",
        ),
    ] = field(default_factory=list)
    last_update: Annotated[str, Meta(description="When the agent last wrote this.")] = ""


class NodeCache(Wire):
    """One node's desired and actual models. Named like its node; cluster-scoped."""

    metadata: ObjectMeta
    spec: NodeCacheSpec = field(default_factory=NodeCacheSpec)
    status: NodeCacheStatus = field(default_factory=NodeCacheStatus)
    api_version: str = API_VERSION
    kind: str = "NodeCache"
