"""What of a request may stand in a log.

Decided by the protocol's own mark (the csi_secret option) and by names, never by looking for what seems secret: fields
so marked, and maps and options that may hold anything, are left out; of volume_context only known attributes stay.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from csi import attributes
from csi.proto import csi_pb2

# mount_flags may be sensitive, says csi.proto. publish_context is none of ours.
_LEFT_OUT = frozenset({"mount_flags", "publish_context", "parameters", "mutable_parameters"})
_MAX_CHARACTERS = 400  # a target path has some 150
_SECRET: Any = csi_pb2.csi_secret  # its generated type is not the one that Extensions takes
Loggable = dict[str, object]


def loggable(message: Message) -> Loggable:
    """The fields of a request that are set, as far as they may be seen."""
    shown: Loggable = {}
    for field, value in message.ListFields():
        if field.name in _LEFT_OUT or field.GetOptions().Extensions[_SECRET]:
            continue
        if field.name == "volume_context":
            shown[field.name] = attributes.known(value)
        elif isinstance(value, Message):
            shown[field.name] = loggable(value)
        elif isinstance(value, str):
            shown[field.name] = value[:_MAX_CHARACTERS]
        elif isinstance(value, bool | int):
            shown[field.name] = value
    return shown
