"""The kinds of object that the controller alone reads and writes, as kube.resources has the common ones."""

from __future__ import annotations

from api.resources import GROUP, VERSION
from kube.resources import Resource

MODEL = Resource(GROUP, VERSION, "models", "Model")
WARM_SET = Resource(GROUP, VERSION, "warmsets", "WarmSet")
NODE_CACHE = Resource(GROUP, VERSION, "nodecaches", "NodeCache", namespaced=False)
