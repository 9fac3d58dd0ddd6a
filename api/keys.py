"""The names that users, workloads and we agree on: annotations, labels, the gate, the driver."""

from __future__ import annotations

import hashlib

DOMAIN = "warmset.dev"

# On a pod template, written by the user.
MODEL = f"{DOMAIN}/model"  # a Model's name, namespace/name, a reference, or several with commas
SECRET = f"{DOMAIN}/secret"  # Secret with the credential of a bare reference
PATH = f"{DOMAIN}/path"  # mount path instead of /models/<name>
PRELOAD = f"{DOMAIN}/preload"  # "true": read the weights ahead into the node's memory
LAYOUT = f"{DOMAIN}/layout"  # of a bare reference: hf arranges the files as the Hub's own cache
MAX_HOLD = f"{DOMAIN}/max-hold"  # longest time the gate may hold, such as 10m
SPREAD = f"{DOMAIN}/spread"  # node label over whose values the workload's groups are spread, as far as there is room
GROUP = f"{DOMAIN}/group"  # explicit group, wins over every workload API
GROUP_SIZE = f"{DOMAIN}/group-size"
WORKER_INDEX = f"{DOMAIN}/worker-index"

# On a Secret, written by whoever owns the credential: globs over the buckets or hosts that it is for.
HOSTS = f"{DOMAIN}/hosts"

# Label on a namespace: pods there take these annotations from their owners, where the workload API drops them.
INHERIT = f"{DOMAIN}/inherit"  # "true"

# On a workload itself, not on its pods: groups to keep warm while it has fewer.
KEEP_WARM_GROUPS = f"{DOMAIN}/keep-warm-groups"

# On a WarmSet, written by `warmset cool`: give its models up where nobody else wants them.
COOL = f"{DOMAIN}/cool"  # "true"

# Written by us.
IMAGES_OF = f"{DOMAIN}/images-of"  # label of the pods that pull a WarmSet's engine images: its UID
PROTECTED = f"{DOMAIN}/protected"  # annotation of a Node: which autoscaler annotations we have set there
GATE = f"{DOMAIN}/weights"  # scheduling gate
MANAGED_LABEL = f"{DOMAIN}/weights"  # label on every pod that the webhook mutated, value "true"
REQUIRED = f"{DOMAIN}/required"  # annotation: the topology level that the release required, as key=value
READY_CONDITION = f"{DOMAIN}/weights-ready"  # pod condition
CSI_DRIVER = f"csi.{DOMAIN}"
ATTRIBUTE_MODEL = f"{DOMAIN}/model"  # volume attribute: namespace/name of one Model
ATTRIBUTE_REVISION = f"{DOMAIN}/revision"  # volume attribute: the revision fixed at admission, where known
ATTRIBUTE_PRELOAD = f"{DOMAIN}/preload"  # volume attribute: "true" or "false"
ENV_MODEL_PATH = "WARMSET_MODEL_PATH"
ENV_HUB_CACHE, ENV_HUB_OFFLINE = "HF_HUB_CACHE", "HF_HUB_OFFLINE"  # huggingface_hub's own
MODELS_FOLDER = "/models"

# Audience of the bound token by which an agent proves its node to the broker.
BROKER_AUDIENCE = f"broker.{DOMAIN}"


def model_key(namespace: str, name: str) -> str:
    """How NodeCaches name a Model: 32 hex digits of a hash, because whoever may read one may read all."""
    return hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:32]
