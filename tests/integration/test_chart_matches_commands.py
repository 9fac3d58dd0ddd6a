"""The chart speaks to the commands as they are: options, configuration files, names."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

import pytest

import controller.config
import daemonset.config
from api import keys
from controller import manager
from controller.certificates import trust
from controller.cluster import owners
from controller.cluster.roster import Roster
from controller.cluster.world import World
from controller.watching import Watching
from kube.client import Client
from tests.support.chart import Manifest, containers, node_containers, pick, pod_specs, render


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render()


def test_every_option_that_the_chart_passes_is_known_to_its_command(manifests: list[Manifest]) -> None:
    checked = []
    for _, spec in pod_specs(manifests):
        for container in spec["containers"]:
            if not container["image"].startswith("warmset:"):
                continue
            name, *arguments = container["args"]
            command = importlib.import_module(f"cli.commands.{name}").command
            known = {option for parameter in command.params for option in parameter.opts}
            assert {argument.partition("=")[0] for argument in arguments} <= known
            # Values that only a cluster fills in stand as they are; everything else is parsed.
            command.make_context(name, list(arguments))
            checked.append(name)
    assert sorted(checked) == ["agent", "controller", "csi"]


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        ("preloadBytes", "preload_bytes"),
        ("downloadBytesPerSecond", "download_bytes_per_second"),
        ("uploadBytesPerSecond", "upload_bytes_per_second"),
    ],
)
def test_limits_reach_the_agent_in_bytes(value: str, limit: str, tmp_path: Path) -> None:
    limits = agent_config(render(f"node.limits.{value}={300 << 30}"), tmp_path).limits
    assert getattr(limits, limit) == 300 << 30


@pytest.mark.parametrize("setting", ["controller.replicas=1", "node.limits.downloadBytesPerSecond=1000000000"])
def test_the_agent_reads_its_configuration(setting: str, tmp_path: Path) -> None:
    config = agent_config(render(setting), tmp_path)
    assert config.root == Path("/var/lib/warmset")
    assert config.cluster is not None
    assert config.cluster.broker.url == "https://warmset-controller.warmset-system.svc:9443"


def test_agent_and_controller_mean_the_same_folder_in_a_cluster_without_csi(tmp_path: Path) -> None:
    manifests = render('mount="hostPath"', 'cache.root="/data/warmset"')
    agent = agent_config(manifests, tmp_path)
    assert agent.host_path
    assert controller_config(manifests, tmp_path).host_path_root == str(agent.root)
    usual = render()
    assert not agent_config(usual, tmp_path).host_path
    assert not controller_config(usual, tmp_path).host_path_root


def agent_config(manifests: list[Manifest], folder: Path) -> daemonset.config.AgentConfig:
    file = folder / "agent.yaml"
    file.write_text(pick(manifests, "ConfigMap", "warmset-node")["data"]["agent.yaml"])
    return daemonset.config.load(file, options={"node": "node-1"})


def controller_config(manifests: list[Manifest], folder: Path) -> controller.config.Config:
    file = folder / "controller.yaml"
    text = pick(manifests, "ConfigMap", "warmset-controller")["data"]["controller.yaml"]
    file.write_text(f"{text}\nnamespace: warmset-system\n")  # in a pod, from its service account
    return controller.config.load(file)


def test_the_controller_reads_its_configuration(tmp_path: Path) -> None:
    settings = [
        'sources.hosts=["*.example.com"]',
        'sources.plainHttp=["r.example.com:5000"]',
        'controller.maxHold="10m"',
    ]
    config = controller_config(render(*settings), tmp_path)
    assert config.sources.hosts == ("*.example.com",)
    assert config.sources.plain_http == ("r.example.com:5000",)
    assert config.max_hold_s == 600


@pytest.mark.parametrize("hub", ["", "https://hub.example.com"])
def test_controller_and_nodes_mean_the_same_hub(hub: str) -> None:
    specs = [spec for _, spec in pod_specs(render(f'sources.hubEndpoint="{hub}"'))]
    variables = [variable for spec in specs for c in spec["containers"] for variable in c.get("env", ())]
    assert [v["value"] for v in variables if v["name"] == "HF_ENDPOINT"] == [hub] * 2 * bool(hub)


def test_the_nodes_read_their_mirrors(tmp_path: Path) -> None:
    settings = [
        'sources.mirrors=[{"host": "r.example.com", "url": "https://m.example.com"},'
        '{"host": "r.example.com", "url": "http://127.0.0.1:4001", "tags": true}]'
    ]
    mirrors = agent_config(render(*settings), tmp_path).mirrors
    assert [(mirror.host, mirror.url, mirror.tags) for mirror in mirrors] == [
        ("r.example.com", "https://m.example.com", False),
        ("r.example.com", "http://127.0.0.1:4001", True),
    ]


def test_the_nodes_read_how_their_caches_are_kept(tmp_path: Path) -> None:
    config = agent_config(
        render(
            "cache.scrubBytesPerSecond=1000000000000", "cache.watermarks.high=0.95", "cache.watermarks.inodesLow=0.5"
        ),
        tmp_path,
    )
    assert config.scrub_bytes_per_second == 10**12
    assert (config.watermarks.high, config.watermarks.low) == (0.95, 0.75)
    assert (config.watermarks.inodes_high, config.watermarks.inodes_low) == (0.9, 0.5)
    assert agent_config(render("cache.scrubBytesPerSecond=0"), tmp_path).scrub_bytes_per_second == 0


@pytest.mark.parametrize(
    "setting",
    [
        "cache.watermarks.high=1.5",
        "cache.watermarks.low=0",
        "cache.watermarks.low=0.9",
        "cache.watermarks.inodesHigh=0.1",
        "cache.scrubBytesPerSecond=-1",
        "cache.watermarks.higher=0.5",
    ],
)
def test_watermarks_that_make_no_sense_are_refused(setting: str) -> None:
    with pytest.raises(AssertionError, match=r"cache|watermarks"):
        render(setting)


def test_quotas_reach_the_controller_as_they_are_written(tmp_path: Path) -> None:
    config = controller_config(
        render('quotas.team-a={"bytesPerNode": "500Gi", "mayPin": false, "highestPriority": -5}', "quotas.*={}"),
        tmp_path,
    )
    assert config.quotas == {
        "team-a": controller.config.Quota(bytes_per_node="500Gi", may_pin=False, highest_priority=-5),
        "*": controller.config.Quota(),
    }


def test_values_repeat_the_commands_own_defaults(manifests: list[Manifest], tmp_path: Path) -> None:
    """Two places that say the same thing must not drift apart."""
    agent = agent_config(manifests, tmp_path)
    usual = daemonset.config.AgentConfig(root=agent.root)
    assert agent.limits == usual.limits
    assert agent.watermarks == usual.watermarks
    assert agent.scrub_bytes_per_second == usual.scrub_bytes_per_second
    own = controller.config.Config(namespace="warmset-system")
    assert controller_config(manifests, tmp_path) == own


def test_both_containers_of_a_node_share_the_agents_socket_and_root(manifests: list[Manifest], tmp_path: Path) -> None:
    config = agent_config(manifests, tmp_path)
    arguments = node_containers(manifests)["csi"]["args"]
    assert f"--agent-socket={config.socket}" in arguments
    assert f"--root={config.root}" in arguments


def test_the_names_that_the_controller_expects_exist(manifests: list[Manifest], tmp_path: Path) -> None:
    config = controller_config(manifests, tmp_path)
    pick(manifests, "Service", config.service)
    pick(manifests, "MutatingWebhookConfiguration", config.webhook_configuration)
    pick(manifests, "CSIDriver", keys.CSI_DRIVER)
    pick(manifests, "ServiceAccount", config.agent_service_account)
    pick(manifests, "Secret", trust.SECRET_NAME)
    pick(manifests, "ConfigMap", trust.CA_NAME)


def test_in_its_namespace_the_controller_may_write_just_what_it_writes(manifests: list[Manifest]) -> None:
    rules = pick(manifests, "Role", "warmset-controller")["rules"]
    named = {rule["resources"][0]: rule["resourceNames"] for rule in rules if "resourceNames" in rule}
    assert named == {"leases": [manager.LEASE], "secrets": [trust.SECRET_NAME], "configmaps": [trust.CA_NAME]}


def test_the_controller_may_read_every_kind_that_stands_above_a_pod(manifests: list[Manifest]) -> None:
    rules = pick(manifests, "ClusterRole", "warmset-controller")["rules"]
    granted = {(g, r) for rule in rules if "get" in rule["verbs"] for g in rule["apiGroups"] for r in rule["resources"]}
    assert {(kind.group, kind.plural) for kind in owners.KINDS.values()} <= granted


def test_the_controller_may_watch_just_what_it_watches(manifests: list[Manifest]) -> None:
    rules = pick(manifests, "ClusterRole", "warmset-controller")["rules"]
    granted = {(g, r) for x in rules if "watch" in x["verbs"] for g in x["apiGroups"] for r in x["resources"]}
    nobody = cast("Client", None)  # nothing is asked before they run
    watched = [reflector.resource for reflector in Watching(nobody, World(), Roster()).reflectors.values()]
    kueues = {("kueue.x-k8s.io", "workloads"), ("kueue.x-k8s.io", "admissionchecks")}
    assert granted == {(resource.group, resource.plural) for resource in watched} | kueues


def test_the_agents_token_is_for_the_broker(manifests: list[Manifest], tmp_path: Path) -> None:
    broker = cluster_of(agent_config(manifests, tmp_path)).broker
    spec = pick(manifests, "DaemonSet", "warmset-node")["spec"]["template"]["spec"]
    mounts = {m["mountPath"]: m["name"] for m in containers(spec)["agent"]["volumeMounts"]}
    (volume,) = [v for v in spec["volumes"] if v["name"] == mounts[str(broker.token_file.parent)]]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == keys.BROKER_AUDIENCE
    assert source["serviceAccountToken"]["path"] == broker.token_file.name
    (volume,) = [v for v in spec["volumes"] if v["name"] == mounts[str(broker.ca_file.parent)]]
    assert (volume["configMap"]["name"], broker.ca_file.name) == (trust.CA_NAME, trust.CA_KEY)


def cluster_of(config: daemonset.config.AgentConfig) -> daemonset.config.Cluster:
    assert config.cluster is not None
    return config.cluster
