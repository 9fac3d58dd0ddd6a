"""Requests of the CSI Node service, checked once and turned into values.

Whatever is wrong with a request is an InvalidRequest, hence INVALID_ARGUMENT (CSI spec, NodePublishVolume Errors).
Of a request's secrets only a registry login is taken, which goes to the agent unread; nothing here looks into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from api import keys
from api.errors import InvalidRequest
from api.node import PublishRequest
from csi import attributes
from csi.config import Config
from csi.proto import csi_pb2
from csi.targets import Target, parse_target

# Options that every mount has anyway; any other could not be kept.
_KEPT_MOUNT_FLAGS = frozenset({"ro", "nosuid", "nodev"})
# The one key of a Secret of type kubernetes.io/dockerconfigjson.
_LOGIN = ".dockerconfigjson"
_MAX_LOGIN_BYTES = 64 << 10  # hundreds of registries


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOrder:
    """One NodePublishVolume: show ``model`` (namespace/name) at ``target``, at ``revision`` where one is given."""

    target: Target
    model: str
    revision: str
    namespace: str
    pod: str
    preload: bool
    login: str = field(default="", repr=False)

    def request(self, *, wait_s: float) -> PublishRequest:
        """What the agent is asked for; it holds the call at most ``wait_s`` seconds."""
        return PublishRequest(
            id=self.target.id,
            model=self.model,
            namespace=self.namespace,
            pod=self.pod,
            pod_uid=self.target.pod_uid,
            revision=self.revision,
            wait_s=wait_s,
            login=self.login,
            preload=self.preload,
        )


def publish_order(request: csi_pb2.NodePublishVolumeRequest, *, config: Config) -> PublishOrder:
    """Check a NodePublishVolumeRequest. Raises InvalidRequest."""
    _require(request.volume_id, "volume_id")
    target = _target(request.target_path, config=config)
    _check_capability(request)
    if config.require_readonly and not (request.readonly or _is_for_readers(request)):
        # Without it kubelet would try to change owners and SELinux labels of files that all pods share.
        raise InvalidRequest(
            "the volume is not read-only",
            hint="set readOnly: true on the pod's volume, or accessModes: [ReadOnlyMany] on the PersistentVolume",
        )
    context = dict(request.volume_context)
    attributes.refuse_unknown(context)
    if attributes.attribute(context, attributes.POD_UID) != target.pod_uid:
        raise InvalidRequest(
            f"{attributes.POD_UID} is not the pod of the target path",
            hint="the CSIDriver object must say podInfoOnMount: true",
        )
    revision, preload = keys.ATTRIBUTE_REVISION, keys.ATTRIBUTE_PRELOAD
    return PublishOrder(
        target=target,
        model=attributes.attribute(context, keys.ATTRIBUTE_MODEL),
        revision=attributes.attribute(context, revision) if context.get(revision) else "",
        namespace=attributes.attribute(context, attributes.POD_NAMESPACE),
        pod=attributes.attribute(context, attributes.POD_NAME),
        preload=preload in context and attributes.attribute(context, preload) == "true",
        login=_login(request.secrets),
    )


def unpublish_target(request: csi_pb2.NodeUnpublishVolumeRequest, *, config: Config) -> Target:
    """Check a NodeUnpublishVolumeRequest. Raises InvalidRequest."""
    _require(request.volume_id, "volume_id")
    return _target(request.target_path, config=config)


def stats_path(request: csi_pb2.NodeGetVolumeStatsRequest) -> str:
    """Check a NodeGetVolumeStatsRequest. Raises InvalidRequest.

    The path may still be anything: one that is no published target is an unknown volume, not a wrong argument.
    """
    _require(request.volume_id, "volume_id")
    _require(request.volume_path, "volume_path")
    return str(request.volume_path)


def _target(path: str, *, config: Config) -> Target:
    _require(path, "target_path")
    return parse_target(path, kubelet_dir=config.kubelet_dir)


def _login(secrets: Mapping[str, str]) -> str:
    login = secrets.get(_LOGIN, "")
    if len(login.encode()) > _MAX_LOGIN_BYTES:
        raise InvalidRequest(f"the Secret of nodePublishSecretRef is larger than {_MAX_LOGIN_BYTES} bytes")
    return login


def _check_capability(request: csi_pb2.NodePublishVolumeRequest) -> None:
    if not request.HasField("volume_capability"):
        raise InvalidRequest("volume_capability is missing")
    capability = request.volume_capability
    if capability.WhichOneof("access_type") != "mount":
        raise InvalidRequest("only volumes of access type mount are offered", hint="set volumeMode: Filesystem")
    if capability.access_mode.mode == csi_pb2.VolumeCapability.AccessMode.UNKNOWN:
        raise InvalidRequest("volume_capability.access_mode is missing")
    if not _KEPT_MOUNT_FLAGS.issuperset(capability.mount.mount_flags):
        raise InvalidRequest("mount options are not taken", hint="leave out mountOptions")
    if capability.mount.volume_mount_group:
        raise InvalidRequest("volume_mount_group is not taken: every group may read the files")


def _is_for_readers(request: csi_pb2.NodePublishVolumeRequest) -> bool:
    """Whether it is a ReadOnlyMany PersistentVolume. KServe writes no readOnly into the pods that take its claim, and
    kubelet tells the pod's word alone (kubernetes pkg/volume/csi/csi_util.go getReadOnlyFromSpec)."""
    mode = csi_pb2.VolumeCapability.AccessMode.MULTI_NODE_READER_ONLY
    return bool(request.volume_capability.access_mode.mode == mode)


def _require(value: str, name: str) -> None:
    if not value:
        raise InvalidRequest(f"{name} is missing")
