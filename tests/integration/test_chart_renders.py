"""What the chart asks a cluster for, and what it does not."""

from __future__ import annotations

import itertools
import json
import re

import pytest
import yaml

from api import keys
from tests.support.chart import CHART, Manifest, containers, helm, node_containers, pick, pod_specs, render

SETTINGS = ['image.pullSecrets=["a"]', "node.limits.downloadBytesPerSecond=1000000000", "controller.replicas=1"]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render()


def test_helm_finds_nothing_to_complain_about() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize("setting", SETTINGS)
def test_it_renders_with_other_values(setting: str) -> None:
    assert len(render(setting)) == len(render())


def test_an_unknown_value_is_refused() -> None:
    with pytest.raises(AssertionError, match="additional properties 'rooot' not allowed"):
        render('cache.rooot="/x"')


def test_every_value_has_a_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(values: Manifest, properties: Manifest, path: str) -> None:
        for key, value in values.items():
            assert key in properties, f"{path}{key} has no schema"
            if "properties" in properties[key]:
                check(value, properties[key]["properties"], f"{path}{key}.")

    check(yaml.safe_load((CHART / "values.yaml").read_text()), schema["properties"], "")


def test_every_value_has_a_comment_over_it() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        key = re.match(r" {0,4}(\w+): ?(.*)", line)
        if key and key[1] not in ("requests", "limits") and (key[2] or key[1] in ("nodeSelector", "tolerations")):
            assert above.strip().startswith("#"), f"{line.strip()} has no comment"


def test_only_the_csi_container_is_privileged(manifests: list[Manifest]) -> None:
    privileged = [
        name
        for _, spec in pod_specs(manifests)
        for name, container in containers(spec).items()
        if container["securityContext"].get("privileged")
    ]
    assert privileged == ["csi"]


def test_no_pod_shares_the_hosts_network_or_processes(manifests: list[Manifest]) -> None:
    for name, spec in pod_specs(manifests):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name


def test_every_other_container_is_confined(manifests: list[Manifest]) -> None:
    for _, spec in pod_specs(manifests):
        for name, container in containers(spec).items():
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            if name != "csi":
                assert context["capabilities"]["drop"] == ["ALL"], name
                assert context["allowPrivilegeEscalation"] is False, name
                assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name


def test_what_touches_the_network_is_not_root(manifests: list[Manifest]) -> None:
    agent = node_containers(manifests)["agent"]["securityContext"]
    brain = pick(manifests, "Deployment", "warmset-controller")["spec"]["template"]["spec"]["securityContext"]
    for context in (agent, brain):
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == 65532
    assert "capabilities" not in brain
    assert "add" not in agent["capabilities"]


def test_the_container_that_runs_as_root_at_start_may_only_change_an_owner(manifests: list[Manifest]) -> None:
    container = node_containers(manifests)["own-cache"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert [mount["name"] for mount in container["volumeMounts"]] == ["cache"]


def test_the_agent_sees_of_the_host_only_the_cache(manifests: list[Manifest]) -> None:
    spec = pick(manifests, "DaemonSet", "warmset-node")["spec"]["template"]["spec"]
    host = {volume["name"] for volume in spec["volumes"] if "hostPath" in volume}
    mounted = {mount["name"] for mount in containers(spec)["agent"]["volumeMounts"]}
    assert mounted & host == {"cache"}


def test_only_the_agents_container_holds_tokens(manifests: list[Manifest]) -> None:
    spec = pick(manifests, "DaemonSet", "warmset-node")["spec"]["template"]["spec"]
    tokens = {volume["name"] for volume in spec["volumes"] if "serviceAccountToken" in json.dumps(volume)}
    assert spec["automountServiceAccountToken"] is False
    holders = {name for name, c in containers(spec).items() if tokens & {m["name"] for m in c["volumeMounts"]}}
    assert holders == {"agent"}


def test_mounts_reach_the_pods_and_the_cache_stays_read_only_to_the_driver(manifests: list[Manifest]) -> None:
    mounts = {mount["name"]: mount for mount in node_containers(manifests)["csi"]["volumeMounts"]}
    assert mounts["pods"]["mountPropagation"] == "Bidirectional"
    assert mounts["cache"]["mountPropagation"] == "HostToContainer"
    assert mounts["cache"]["readOnly"] is True


def test_never_two_drivers_at_once_on_a_node(manifests: list[Manifest]) -> None:
    strategy = pick(manifests, "DaemonSet", "warmset-node")["spec"]["updateStrategy"]["rollingUpdate"]
    assert strategy["maxSurge"] == 0


def test_images_are_pinned(manifests: list[Manifest]) -> None:
    for _, spec in pod_specs(manifests):
        for container in containers(spec).values():
            assert re.search(r":v?[0-9]+\.[0-9]+\.[0-9]+$", container["image"]), container["image"]


def test_a_node_may_read_node_caches_and_write_their_status(manifests: list[Manifest]) -> None:
    assert pick(manifests, "ClusterRole", "warmset-node")["rules"] == [
        {"apiGroups": ["warmset.dev"], "resources": ["nodecaches"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["warmset.dev"], "resources": ["nodecaches/status"], "verbs": ["update", "patch"]},
    ]


def test_no_role_uses_a_wildcard_and_no_binding_reads_secrets_everywhere(manifests: list[Manifest]) -> None:
    bound = {m["roleRef"]["name"] for m in manifests if m["kind"] == "ClusterRoleBinding"}
    for manifest in manifests:
        if manifest["kind"] not in ("Role", "ClusterRole"):
            continue
        name = manifest["metadata"]["name"]
        for rule in manifest["rules"]:
            assert "*" not in json.dumps(rule), name
            if manifest["kind"] == "ClusterRole" and name in bound:
                assert "secrets" not in rule["resources"], name


def test_in_its_namespace_the_controller_reads_no_secret_but_its_own(manifests: list[Manifest]) -> None:
    rules = pick(manifests, "Role", "warmset-controller")["rules"]
    assert [r["resourceNames"] for r in rules if "secrets" in r["resources"]] == [["warmset-tls"]]


def test_the_driver_object_trusts_only_kubelets_word_about_pods(manifests: list[Manifest]) -> None:
    assert pick(manifests, "CSIDriver", "csi.warmset.dev")["spec"] == {
        "attachRequired": False,
        "podInfoOnMount": True,
        "volumeLifecycleModes": ["Ephemeral", "Persistent"],
        "fsGroupPolicy": "None",
        "seLinuxMount": False,
        "requiresRepublish": False,
        "storageCapacity": False,
    }


def test_the_policy_covers_every_version_of_objects_and_status(manifests: list[Manifest]) -> None:
    spec = pick(manifests, "ValidatingAdmissionPolicy", "warmset-own-node-only")["spec"]
    assert spec["failurePolicy"] == "Fail"
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert rule["resources"] == ["nodecaches", "nodecaches/status"]
    assert rule["apiVersions"] == ["*"]


def test_the_webhook_comes_after_those_that_label_groups(manifests: list[Manifest]) -> None:
    (name,) = [m["metadata"]["name"] for m in manifests if m["kind"] == "MutatingWebhookConfiguration"]
    others = ["lws-mutating-webhook-configuration", "kueue-mutating-webhook-configuration", "jobset-mutating-webhook"]
    assert sorted([name, *others])[-1] == name


def webhooks(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {w["name"]: w for w in pick(manifests, "MutatingWebhookConfiguration", "warmset-pods")["webhooks"]}


def test_inherited_annotations_are_opt_in_fail_open_and_come_first(manifests: list[Manifest]) -> None:
    assert list(webhooks(manifests)) == ["inherited.warmset.dev", "pods.warmset.dev"]
    webhook = webhooks(manifests)["inherited.warmset.dev"]
    assert webhook["namespaceSelector"] == {"matchLabels": {keys.INHERIT: "true"}}
    assert (webhook["failurePolicy"], webhook["timeoutSeconds"]) == ("Ignore", 2)


def test_the_webhook_fails_closed_and_soon(manifests: list[Manifest]) -> None:
    webhook = webhooks(manifests)["pods.warmset.dev"]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["timeoutSeconds"] == 2
    assert webhook["sideEffects"] == "None"
    assert webhook["reinvocationPolicy"] == "IfNeeded"
    assert webhook["rules"][0]["operations"] == ["CREATE"]


def test_two_controllers_that_avoid_each_other(manifests: list[Manifest]) -> None:
    spec = pick(manifests, "Deployment", "warmset-controller")["spec"]
    assert spec["replicas"] == 2
    spread = {c["topologyKey"] for c in spec["template"]["spec"]["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert pick(manifests, "PodDisruptionBudget", "warmset-controller")["spec"]["maxUnavailable"] == 1


def test_a_cluster_without_csi_gets_no_privileged_container_no_driver_and_no_path_but_the_cache() -> None:
    manifests = render('mount="hostPath"')
    spec = pick(manifests, "DaemonSet", "warmset-node")["spec"]["template"]["spec"]
    assert containers(spec).keys() == {"own-cache", "agent"}
    assert [v["name"] for v in spec["volumes"] if "hostPath" in v] == ["cache"]
    assert not [c for c in containers(spec).values() if c["securityContext"].get("privileged")]
    assert "CSIDriver" not in {m["kind"] for m in manifests}


@pytest.mark.parametrize(("limit", "rendered"), [("1Gi", 9 << 30), ("512Mi", (8 << 30) + (512 << 20))])
def test_what_is_preloaded_comes_on_top_of_the_agents_memory_limit(limit: str, rendered: int) -> None:
    settings = [f"node.limits.preloadBytes={8 << 30}", f'node.resources.agent.limits.memory="{limit}"']
    resources = node_containers(render(*settings))["agent"]["resources"]
    assert resources["limits"]["memory"] == str(rendered)
    assert resources["requests"] == {"cpu": "100m", "memory": "256Mi"}


def test_without_preloading_or_without_a_limit_there_is_nothing_to_add(manifests: list[Manifest]) -> None:
    assert node_containers(manifests)["agent"]["resources"]["limits"]["memory"] == "1Gi"
    unlimited = render("node.limits.preloadBytes=1024", "node.resources.agent.limits=null")
    assert "limits" not in node_containers(unlimited)["agent"]["resources"]


def test_a_limit_that_cannot_be_added_to_is_refused() -> None:
    with pytest.raises(AssertionError, match="whole Mi or Gi"):
        render("node.limits.preloadBytes=1024", 'node.resources.agent.limits.memory="1.5Gi"')


def test_agents_and_controllers_are_reached_only_by_those_who_must(manifests: list[Manifest]) -> None:
    def ports(name: str) -> list[list[str]]:
        rules = pick(manifests, "NetworkPolicy", name)["spec"]["ingress"]
        return [[port["port"] for port in rule.get("ports", [])] for rule in rules]

    assert ports("warmset-controller") == [["https"], ["health"]]
    assert ports("warmset-node") == [[], ["health"]]
    among_agents = pick(manifests, "NetworkPolicy", "warmset-node")["spec"]["ingress"][0]["from"]
    agents = pick(manifests, "DaemonSet", "warmset-node")["spec"]["selector"]
    assert among_agents == [{"podSelector": agents}]


def test_every_policy_covers_pods_that_exist_and_limits_only_who_comes_in(manifests: list[Manifest]) -> None:
    labels = [m["spec"]["template"]["metadata"]["labels"] for m in manifests if "template" in m.get("spec", {})]
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    for policy in policies:
        selected = policy["podSelector"]["matchLabels"].items()
        assert sum(selected <= of_pod.items() for of_pod in labels) == 1
        assert policy["policyTypes"] == ["Ingress"]
    assert len(policies) == len(labels)


def test_metrics_may_be_kept_to_one_namespace() -> None:
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    manifests = render(f"networkPolicy.metricsFrom={json.dumps(monitoring)}")
    for name in ("warmset-node", "warmset-controller"):
        assert pick(manifests, "NetworkPolicy", name)["spec"]["ingress"][-1]["from"] == monitoring


def test_nobody_cannot_be_written_as_an_empty_list_which_would_mean_everybody() -> None:
    with pytest.raises(AssertionError, match="metricsFrom"):
        render("networkPolicy.metricsFrom=[]")


def test_monitoring_adds_its_objects_and_reaches_every_pod_with_metrics() -> None:
    plain = render()
    manifests = render(
        "monitoring.serviceMonitor.enabled=true",
        'monitoring.serviceMonitor.labels={"release":"a"}',
        "monitoring.dashboard.enabled=true",
    )
    assert len(manifests) == len(plain) + 3
    monitor, service = pick(manifests, "ServiceMonitor", "warmset"), pick(manifests, "Service", "warmset-metrics")
    assert monitor["metadata"]["labels"]["release"] == "a"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [e["port"] for e in monitor["spec"]["endpoints"]] == [p["name"] for p in service["spec"]["ports"]]
    for name, spec in pod_specs(manifests):
        names = {port["name"] for c in spec["containers"] for port in c.get("ports", [])}
        assert service["spec"]["ports"][0]["targetPort"] in names, name
    dashboard = pick(manifests, "ConfigMap", "warmset-dashboard")["data"]["warmset.json"]
    assert json.loads(dashboard) == json.loads((CHART / "dashboards" / "warmset.json").read_text())


def test_nodes_share_pulls_unless_it_is_switched_off() -> None:
    def found(manifests: list[Manifest]) -> tuple[bool, bool, bool]:
        """Whether agents serve peers, on a port that their pods name, and whether the controller seats nodes."""
        agent = yaml.safe_load(pick(manifests, "ConfigMap", "warmset-node")["data"]["agent.yaml"])
        controller = yaml.safe_load(pick(manifests, "ConfigMap", "warmset-controller")["data"]["controller.yaml"])
        containers = pick(manifests, "DaemonSet", "warmset-node")["spec"]["template"]["spec"]["containers"]
        ports = [port["name"] for c in containers if c["name"] == "agent" for port in c["ports"]]
        return "exchange" in agent["cluster"], "peers" in ports, controller["exchange"]

    assert found(render()) == (True, True, True)
    assert found(render("exchange.enabled=false")) == (False, False, False)
