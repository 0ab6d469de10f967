"""DeploymentConfig and its parts: what they take, and what they say of what they don't."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from aioproviders.cli.deploying.overrides import overridden
from aioproviders.config import paths_start_at
from aioproviders.deployment import DeploymentConfig, Port, Probe, Strategy
from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.process.config import ProcessDeploymentConfig

REQUIRED = {"name": "shop", "version": "1.4.0"}


def test_secret_variables_are_secrets():
    """A variable given as a secret is shown nowhere, a plain one is; numbers become text."""
    config = DeploymentConfig(**REQUIRED, env={"MODE": "fast", "TOKEN": {"secret": "geheim"}, "WORKERS": 3})
    assert config.env == {"MODE": "fast", "TOKEN": SecretStr("geheim"), "WORKERS": "3"}
    assert "geheim" not in f"{config!r} {config} {config.model_dump_json()}"
    assert "fast" in repr(config)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"env": {"TOKEN": {"secret": 3}}}, "{ secret ="),
        ({"env": {"DEBUG": True}}, "quote it"),
        ({"env": {"MODE": "fa\0st"}}, "no NUL character"),
        ({"env": {"TOKEN": {"secret": "ge\0heim"}}}, "no NUL character"),
        ({"command": ["run", "\0"]}, "no NUL character"),
        ({"env": {"not-a-name": "x"}}, "no name of an environment variable"),
        ({"namespace": "Shop"}, "lower-case"),
        ({"replicas": -1}, "greater than or equal to 0"),
        ({"replicas": True}, "whole number"),
        ({"ports": [{"port": 80}, {"port": 81}]}, "a name of its own"),
        ({"ports": [{"port": 70_000}]}, "65535"),
        ({"ports": [{"port": 80, "name": "a-very-long-port-name"}]}, "at most 15"),
        ({"readiness_probe": {}}, "'readiness_probe' asks a port"),
        ({"ports": [{"port": 80}], "liveness_probe": {"port": "admin"}}, "'admin', which 'ports'"),
        ({"startup_probe": {"kind": "exec"}}, "'command' belongs to"),
        ({"startup_probe": {"kind": "tcp", "port": 80, "command": ["true"]}}, "'command' belongs to"),
        ({"readiness_probe": {"path": "health", "port": 80}}, "begin with '/'"),
        ({"strategy": {"max_surge": 0}}, "can't both be zero"),
        ({"strategy": {"max_surge": "a quarter"}}, "such as '25%'"),
        ({"strategy": {"max_surge": "101%"}}, "such as '25%'"),
    ],
)
def test_bad_settings(fields, told):
    """Each is refused, with what would be right."""
    with pytest.raises(ValidationError) as raised:
        DeploymentConfig(**REQUIRED, **fields)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("max_surge", "max_unavailable", "replicas", "surge", "unavailable"),
    [
        (1, 0, 4, 1, 0),
        ("25%", "25%", 5, 2, 1),
        ("0%", "25%", 2, 0, 1),
        ("25%", "0%", 1, 1, 0),
        (2, 3, 1, 2, 3),
    ],
)
def test_shares(max_surge, max_unavailable, replicas, surge, unavailable):
    """A surge is rounded up and what may be missing down, but for where nothing could then move."""
    strategy = Strategy(max_surge=max_surge, max_unavailable=max_unavailable)
    assert (strategy.surge(replicas), strategy.unavailable(replicas)) == (surge, unavailable)


def test_the_version_is_filled_in():
    """Where a text says ``{version}``, and nowhere else: other braces are the text's own."""
    config = DeploymentConfig(**REQUIRED)
    assert config.filled('shop:{version} {"json": {}}') == 'shop:1.4.0 {"json": {}}'


def test_probes_by_port_number_need_no_port_by_name():
    """A probe may ask a port that is not among the ports."""
    config = DeploymentConfig(**REQUIRED, readiness_probe=Probe(port=9000), ports=(Port(port=80),))
    assert config.readiness_probe.port == 9000


@pytest.mark.parametrize(
    ("image", "tag", "full"),
    [
        ("shop", "latest", "shop:latest"),
        ("registry:5000/shop", "1.2", "registry:5000/shop:1.2"),
        ("registry:5000/shop:{version}", "1.2", "registry:5000/shop:1.4.0"),
        ("shop", "{version}", "shop:1.4.0"),
        ("shop@sha256:abc", "1.2", "shop@sha256:abc"),
        (None, "1.2", None),
    ],
)
def test_images_and_tags(image, tag, full):
    """The tag is added where the image has neither tag nor digest; a registry's port is no tag."""
    assert KubernetesDeploymentConfig(**REQUIRED, image=image, image_tag=tag).full_image == full


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "Shop"}, "lower-case"),
        ({"service": {}}, "'service' needs 'ports'"),
        ({"service": {"type": "Ingress"}}, "ClusterIP, NodePort or LoadBalancer"),
        ({"autoscaling": {"max_replicas": 2, "min_replicas": 3}}, "'max_replicas'"),
        ({"autoscaling": {"max_replicas": 2, "cpu_percent": None}}, "'cpu_percent' or 'memory_percent'"),
        ({"disruption_budget": {}}, "either 'min_available'"),
        ({"disruption_budget": {"min_available": 1, "max_unavailable": 1}}, "either 'min_available'"),
        ({"readiness_probe": {"kind": "notify"}}, "for local processes"),
        ({"replicas": 2**31}, "2147483647"),
        ({"min_ready_seconds": 2**31}, "2147483647"),
        ({"autoscaling": {"max_replicas": 2**31}}, "2147483647"),
        ({"resources": {"request": {}}}, "request"),
        *(
            ({"resources": {"limits": {"cpu": amount}}}, "such as '500m', '1.5' or '128Mi'")
            for amount in ("lots", "-1", "1 Gi", "1GB", "", True, "\N{ARABIC-INDIC DIGIT ONE}")
        ),
        ({"manifests": ["shop.yaml"], "image": "shop"}, "'image' would do nothing"),
        ({"manifests": ["shop.yaml"], "replicas": 1}, "'replicas' would do nothing"),
        (
            {"manifests": ["shop.yaml"], "strategy": {"kind": "recreate"}, "labels": {"team": "a"}},
            "'strategy', 'labels' would do nothing",
        ),
    ],
)
def test_bad_kubernetes_settings(fields, told):
    """Each is refused, with what would be right."""
    with pytest.raises(ValidationError) as raised:
        KubernetesDeploymentConfig(**{**REQUIRED, **fields})
    assert told in str(raised.value)


@pytest.mark.parametrize("amount", ["500m", "1.5", ".5", "2.", "128Mi", "1e3", "12E6", "3E", "7k", 2, 0.25])
def test_amounts_of_resources(amount):
    """Quantities are as Kubernetes has them, and applied as they were written."""
    asked = {"requests": {"cpu": amount}, "limits": {"nvidia.com/gpu": 1}}
    assert KubernetesDeploymentConfig(**REQUIRED, resources=asked).resources == asked


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"command": []}, "command"),
        ({"name": "my shop"}, "lower-case"),
        ({"image": "shop"}, "'image' is for containers"),
        ({"resources": {"memory": "1Gi"}}, "memory"),
        ({"resources": {"open_files": 0}}, "open_files"),
        ({"ports": [{"port": 80}], "readiness_probe": {"kind": "tcp"}}, "all replicas share one port"),
        ({"ports": [{"port": 80, "protocol": "udp"}]}, "only tcp"),
    ],
)
def test_bad_process_settings(fields, told):
    """Each is refused, with what would be right."""
    with pytest.raises(ValidationError) as raised:
        ProcessDeploymentConfig(**{**REQUIRED, "command": ["shop"], **fields})
    assert told in str(raised.value)


def test_process_state_is_kept_per_deployment(tmp_path, monkeypatch):
    """By default below XDG_STATE_HOME, a folder for each namespace and name."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    config = ProcessDeploymentConfig(**REQUIRED, command=["shop"], resources={"memory_mib": 64})
    assert config.directory == tmp_path / "aioproviders" / "default" / "shop"
    assert (config.limits.memory_mib, config.limits.open_files) == (64, None)


def test_where_a_providers_file_runs_its_command(tmp_path):
    """In the file's folder, wherever the program runs; a config without a file where that does."""
    said = {"name": "web", "version": "1", "command": ["./web"]}
    from_file = ProcessDeploymentConfig.model_validate(said, context=paths_start_at(tmp_path))
    assert from_file.working_directory == tmp_path
    assert overridden(from_file, ["replicas=2"]).working_directory == tmp_path
    assert ProcessDeploymentConfig(**said).working_directory is None
    for given, there in (("app", tmp_path / "app"), ("/srv", Path("/srv")), (None, None)):
        config = ProcessDeploymentConfig.model_validate(
            {**said, "working_directory": given}, context=paths_start_at(tmp_path)
        )
        assert config.working_directory == there
