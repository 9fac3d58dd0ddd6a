"""The agent's unix-socket API: what the CSI driver and the local CLI say to the agent.

HTTP/1.1 with JSON bodies over a unix socket that only root and the agent's group can open:

    POST   /v1/publications        PublishRequest   -> 200 Publication: the tree is here and pinned
                                                       409 NodeError Pulling: not yet; the pull goes on
    DELETE /v1/publications/{id}?at=                -> 204, also where there is none; a pin newer than ``at`` stays
    GET    /v1/publications                         -> list[Publication]
    PUT    /v1/live                 LiveSet          -> 204: pins beyond these go, older than it; eviction may begin
    GET    /v1/status                               -> AgentStatus
    POST   /v1/verify?target=                       -> VerifyReport: every blob, or those of one tree (cache.find),
                                                       was read again just now

Any other answer carries a NodeError. A POST is held open until the tree is ready, at most ``wait_s`` seconds.
"""

from __future__ import annotations

from msgspec import field

from api.fields import Wire
from api.resources import NodeModelStatus, PeerSetAside

MAX_WAIT_S = 100.0  # kubelet gives an RPC 120 s (csiTimeout); the rest is for the mount and the answer


class PublishRequest(Wire):
    id: str  # hex sha256 of the target path: stable over retries, unsuspicious as a file name
    model: str  # namespace/name
    namespace: str  # the pod's, as kubelet tells it
    pod: str
    pod_uid: str
    revision: str = ""
    wait_s: float = MAX_WAIT_S
    # A docker configuration with the pod's own registry login, from its volume's nodePublishSecretRef.
    login: str = ""
    preload: bool = False  # read the tree ahead into memory once it is granted
    at: int = 0  # when the call was made, time.monotonic_ns(); 0 for now

    def __repr__(self) -> str:  # never in a log
        return f"PublishRequest({self.model} for {self.namespace}/{self.pod})"


class Publication(Wire):
    id: str
    tree: str  # sha256:<hex>; its folder is trees/<hex> below the cache's root
    model: str
    revision: str
    bytes: int
    files: int
    pod_uid: str = ""


class LiveSet(Wire):
    """Ids of all publications that are mounted on the node or being worked on, from mountinfo.

    ``trees`` has the tree (sha256:<hex>) of those that are mounted: what a pin must name that has got lost.
    """

    ids: list[str]
    trees: dict[str, str] = field(default_factory=dict)
    at: int = 0  # when the mounts were read, time.monotonic_ns(); 0 for now


class NodeError(Wire):
    reason: str
    message: str
    hint: str = ""


class AgentStatus(Wire):
    node: str
    version: str
    cache_id: str
    capacity: int
    used: int
    paused: bool = False
    models: list[NodeModelStatus] = field(default_factory=list)
    # What a stand-alone agent's models are called, by the hash that stands for them elsewhere. None in a cluster.
    names: dict[str, str] = field(default_factory=dict)
    publications: list[Publication] = field(default_factory=list)
    peers_set_aside: list[PeerSetAside] = field(default_factory=list)


class VerifyReport(Wire):
    """``wrong`` blobs (sha256:<hex>) went to quarantine; what links them is pulled again."""

    blobs: int
    bytes: int
    wrong: list[str] = field(default_factory=list)
