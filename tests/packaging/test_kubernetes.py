"""The manifests of contrib/deploy/kubernetes: their rules are read from the base, and from the output of Helm and Kustomize.

The base is plain YAML, so its rules are checked without any tool. Tests of Helm and Kustomize are skipped where the tool is not
installed; docs/kubernetes.md names the commands that install them.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.postgres import Databases, PostgresServer
from tests.support.warm_start import run_vault
from vsqlvault.cli import parser
from vsqlvault.config import Settings, load_settings
from vsqlvault.proof.note import SigningKey
from vsqlvault.service.log.signing_keys import write_key

KUBERNETES = Path(__file__).parents[2] / "contrib" / "deploy" / "kubernetes"
BASE, CHART = KUBERNETES / "base", KUBERNETES / "chart"
VERSION = "1.31.0"
MICRO_STOP_SECONDS = 10
Objects = dict[str, Any]


def by_kind(text: str) -> Objects:
    found = [each for each in yaml.safe_load_all(text) if each]
    objects = {each["kind"]: each for each in found}
    assert len(objects) == len(found), "one object of each kind"
    return objects


def tool(name: str, *arguments: object) -> str:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    command = [name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def helm(release: str = "vsqlvault", *arguments: object) -> Objects:
    return by_kind(tool("helm", "template", release, CHART, "--kube-version", VERSION, *arguments))


def base() -> Objects:
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text("utf-8"))["resources"]
    return by_kind("\n---\n".join((BASE / name).read_text("utf-8") for name in names))


@pytest.fixture(params=["base", "helm"])
def objects(request: pytest.FixtureRequest) -> Objects:
    return base() if request.param == "base" else helm("other-name")


def pod(objects: Objects) -> Any:
    return objects["StatefulSet"]["spec"]["template"]["spec"]


def containers(objects: Objects) -> dict[str, Any]:
    return {each["name"]: each for each in (*pod(objects)["initContainers"], *pod(objects)["containers"])}


@pytest.fixture
def settings(objects: Objects, tmp_path: Path) -> Settings:
    (tmp_path / "vsql-vault.toml").write_text(objects["ConfigMap"]["data"]["vsql-vault.toml"])
    return load_settings(tmp_path / "vsql-vault.toml", {})


def listens_on(container: Any) -> str:
    arguments = container["args"]
    return str(arguments[arguments.index("--listen") + 1])


class TestMicroIsReachableFromWithinThePodOnly:
    def test_it_listens_on_the_loopback(self, objects: Objects) -> None:
        host, _, _ = listens_on(containers(objects)["micro"]).rpartition(":")
        assert ipaddress.ip_address(host).is_loopback

    def test_the_vault_connects_to_that_address(self, objects: Objects, settings: Settings) -> None:
        address = urlsplit(settings.storage.database_url).netloc.rpartition("@")[2]
        assert address == listens_on(containers(objects)["micro"])

    def test_the_pod_shares_no_network_with_its_node(self, objects: Objects) -> None:
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod(objects).keys()
        ports = [port for each in containers(objects).values() for port in each.get("ports", ())]
        assert [(port["name"], set(port)) for port in ports] == [("https", {"name", "containerPort", "protocol"})]

    def test_service_and_network_policy_name_the_port_of_the_vault_only(
        self, objects: Objects, settings: Settings
    ) -> None:
        (port,) = containers(objects)["vault"]["ports"]
        assert port["containerPort"] == int(settings.server.listen_addr.rpartition(":")[2])
        (exposed,) = objects["Service"]["spec"]["ports"]
        assert exposed["targetPort"] == port["name"]
        (rule,) = objects["NetworkPolicy"]["spec"]["ingress"]
        assert [each["port"] for each in rule["ports"]] == [port["name"]]

    def test_only_labelled_pods_may_connect_and_the_pod_connects_to_nothing(self, objects: Objects) -> None:
        policy = objects["NetworkPolicy"]["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert policy["egress"] == []
        assert policy["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"vsqlvault/client": "true"}}}]


class TestThePod:
    def test_service_network_policy_and_stateful_set_select_it(self, objects: Objects) -> None:
        labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
        assert objects["Service"]["spec"]["selector"] == labels
        assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
        assert objects["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
        assert objects["StatefulSet"]["spec"]["serviceName"] == objects["Service"]["metadata"]["name"]

    def test_every_container_is_restricted(self, objects: Objects) -> None:
        security = pod(objects)["securityContext"]
        assert {security[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {65532}
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod(objects)["automountServiceAccountToken"] is False
        for container in containers(objects).values():
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]) == {"requests", "limits"}

    def test_the_directory_of_the_database_keeps_its_mode(self, objects: Objects) -> None:
        assert pod(objects)["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"

    def test_micro_runs_before_the_migration_and_outlives_the_vault(self, objects: Objects) -> None:
        first, second = pod(objects)["initContainers"]
        assert (first["name"], first["restartPolicy"]) == ("micro", "Always")
        assert (second["name"], "restartPolicy" in second) == ("migrate", False)
        assert objects["StatefulSet"]["spec"]["replicas"] == 1

    def test_every_volume_that_is_mounted_exists(self, objects: Objects) -> None:
        claims = objects["StatefulSet"]["spec"]["volumeClaimTemplates"]
        volumes = {each["name"] for each in pod(objects)["volumes"]} | {each["metadata"]["name"] for each in claims}
        mounted = {mount["name"] for each in containers(objects).values() for mount in each["volumeMounts"]}
        assert mounted == volumes
        (settings,) = (each["configMap"]["name"] for each in pod(objects)["volumes"] if "configMap" in each)
        assert settings == objects["ConfigMap"]["metadata"]["name"]

    @pytest.mark.parametrize("name", ["vault", "migrate"])
    def test_the_arguments_are_a_command_with_the_mounted_settings(self, objects: Objects, name: str) -> None:
        options = parser.command_parser().parse_args(containers(objects)[name]["args"])
        mounts = {mount["mountPath"] for mount in containers(objects)[name]["volumeMounts"]}
        assert str(options.config.parent) in mounts
        assert options.config.name in objects["ConfigMap"]["data"]


class TestSecrets:
    def test_files_with_secrets_come_from_secrets(self, objects: Objects, settings: Settings) -> None:
        assert settings.server.tls
        files = {settings.server.tls.cert_file, settings.server.tls.key_file, settings.audit.signing_key_file}
        from_secrets = {each["name"]: each["secret"] for each in pod(objects)["volumes"] if "secret" in each}
        assert all(each["defaultMode"] & 0o007 == 0 for each in from_secrets.values())
        directories = {
            mount["mountPath"]
            for mount in containers(objects)["vault"]["volumeMounts"]
            if mount["name"] in from_secrets
        }
        assert {str(Path(str(file)).parent) for file in files} == directories

    def test_no_object_contains_a_secret(self, objects: Objects) -> None:
        assert "Secret" not in objects
        assert [each["secretRef"] for each in containers(objects)["vault"]["envFrom"]] == [{"name": "vsqlvault-keys"}]
        values = {each["name"] for container in containers(objects).values() for each in container.get("env", ())}
        assert values == {"HOME"}


class TestProbes:
    def test_liveness_does_not_depend_on_the_storage(self, objects: Objects) -> None:
        vault = containers(objects)["vault"]
        paths = {name: vault[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert paths == {
            "startupProbe": "/health/live",
            "livenessProbe": "/health/live",
            "readinessProbe": "/health/ready",
        }
        assert {vault[name]["httpGet"]["scheme"] for name in paths} == {"HTTPS"}

    def test_traffic_ends_while_the_vault_still_serves(self, objects: Objects, settings: Settings) -> None:
        ready = containers(objects)["vault"]["readinessProbe"]
        assert ready["periodSeconds"] * ready["failureThreshold"] < settings.server.drain_seconds

    def test_the_grace_period_covers_drain_requests_and_the_end_of_micro(
        self, objects: Objects, settings: Settings
    ) -> None:
        needed = settings.server.drain_seconds + settings.server.graceful_timeout_seconds + MICRO_STOP_SECONDS
        assert pod(objects)["terminationGracePeriodSeconds"] >= needed


class TestChart:
    VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))

    def test_its_values_are_those_of_the_base(self) -> None:
        found = containers(base())
        assert self.VALUES["settings"] == base()["ConfigMap"]["data"]["vsql-vault.toml"]
        assert self.VALUES["micro"]["args"] == found["micro"]["args"]
        for name, image in (("vault", "vault"), ("migrate", "vault"), ("micro", "micro")):
            assert self.VALUES[name]["resources"] == found[name]["resources"]
            assert self.VALUES[image]["image"] == found[name]["image"]
        assert self.VALUES["terminationGracePeriodSeconds"] == pod(base())["terminationGracePeriodSeconds"]

    def test_its_values_have_its_schema(self) -> None:
        jsonschema.validate(self.VALUES, self.SCHEMA)

    @pytest.mark.parametrize("listen", ["0.0.0.0:5432", ":5432", "[::]:5432", "listen_addresses=*"])
    def test_its_schema_refuses_a_micro_that_listens_outside_the_pod(self, listen: str) -> None:
        micro = {**self.VALUES["micro"], "args": ["serve", "--listen", listen]}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**self.VALUES, "micro": micro}, self.SCHEMA)

    def test_helm_finds_nothing_to_complain_about(self) -> None:
        assert "1 chart(s) linted, 0 chart(s) failed" in tool("helm", "lint", "--strict", CHART)

    def test_helm_and_kustomize_make_the_same_objects(self) -> None:
        assert helm() == by_kind(tool("kustomize", "build", BASE)) == base()

    def test_values_arrive_in_the_objects(self) -> None:
        found = helm("a", "--set", "storage.className=fast,vault.image=registry/vault:1,secrets.keys=other-keys")
        claim = found["StatefulSet"]["spec"]["volumeClaimTemplates"][0]["spec"]
        assert claim["storageClassName"] == "fast"
        assert {containers(found)[name]["image"] for name in ("vault", "migrate")} == {"registry/vault:1"}
        assert containers(found)["vault"]["envFrom"] == [{"secretRef": {"name": "other-keys"}}]


class TestTimers:
    NAMES = ("archive", "drop")
    OBJECTS = {
        name: yaml.safe_load((KUBERNETES / "archive" / f"{name}.yaml").read_text("utf-8")) for name in ("claim", *NAMES)
    }

    @pytest.fixture(params=NAMES)
    def job(self, request: pytest.FixtureRequest) -> Any:
        return self.OBJECTS[request.param]["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    def test_every_object_of_the_directory_is_named_by_kustomize(self) -> None:
        names = yaml.safe_load((KUBERNETES / "archive" / "kustomization.yaml").read_text("utf-8"))["resources"]
        assert sorted(names) == sorted(f"{name}.yaml" for name in self.OBJECTS)

    def test_kustomize_builds_them(self) -> None:
        found = yaml.safe_load_all(tool("kustomize", "build", KUBERNETES / "archive"))
        assert sorted(each["metadata"]["name"] for each in found) == sorted(
            each["metadata"]["name"] for each in self.OBJECTS.values()
        )

    def test_a_run_is_restricted_as_the_vault_is(self, job: Any) -> None:
        (container,) = job["containers"]
        vault = containers(base())["vault"]
        assert (container["image"], container["securityContext"]) == (vault["image"], vault["securityContext"])
        assert job["securityContext"] == pod(base())["securityContext"]
        assert job["automountServiceAccountToken"] is False
        assert (job["restartPolicy"], set(container["resources"])) == ("Never", {"requests", "limits"})

    def test_it_has_the_settings_and_the_secrets_of_the_vault(self, job: Any) -> None:
        (container,) = job["containers"]
        vault = containers(base())["vault"]
        assert container["envFrom"] == vault["envFrom"]
        assert all(mount in container["volumeMounts"] for mount in vault["volumeMounts"])
        shared = [each for each in pod(base())["volumes"] if each["name"] != "micro-programs"]
        assert all(volume in job["volumes"] for volume in shared)
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in job["volumes"]}

    def test_no_two_runs_overlap(self) -> None:
        assert {self.OBJECTS[name]["spec"]["concurrencyPolicy"] for name in self.NAMES} == {"Forbid"}

    def test_the_commands_read_and_write_the_mounted_directories(self) -> None:
        for name, option in (("archive", "out"), ("drop", "archive")):
            spec = self.OBJECTS[name]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            options = parser.command_parser().parse_args(container["args"])
            found = getattr(options, option)
            assert [str(each) for each in (found if isinstance(found, list) else [found])] == ["/archive"]
            (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == "/archive"]
            assert mount.get("readOnly", False) is (name == "drop")

    def test_the_archive_and_its_copy_are_different_claims(self) -> None:
        claims = {
            name: [each["persistentVolumeClaim"] for each in self._volumes(name) if "persistentVolumeClaim" in each]
            for name in self.NAMES
        }
        assert claims["archive"] == [{"claimName": self.OBJECTS["claim"]["metadata"]["name"]}]
        assert claims["drop"] == [{"claimName": "vsqlvault-archive-copy", "readOnly": True}]

    def _volumes(self, name: str) -> Any:
        return self.OBJECTS[name]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]

    def test_they_have_the_schema_of_kubernetes(self) -> None:
        validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
        for each in self.OBJECTS.values():
            validator.validate(each, VERSION, strict=True)


def test_the_commands_of_the_base_make_a_ready_vault(postgres: Databases, tmp_path: Path) -> None:
    """The settings and arguments as they are, but for directories, the port, and the address of the database."""
    if not isinstance(postgres, PostgresServer):
        pytest.skip("the server is not one of ours")
    directory, (role, database) = tmp_path / "etc", (f"vault_{secrets.token_hex(4)}", f"vault_{secrets.token_hex(4)}")
    mounted(directory, f"{role}@/{database}?host={postgres.directory}&port={postgres.port}")

    def command(name: str) -> list[str]:
        words = containers(base())[name]["args"]
        return [sys.executable, "-m", "vsqlvault", *(word.replace("/etc/vsqlvault", str(directory)) for word in words)]

    environment = {**os.environ, "VSQL_VAULT_API_KEY": "a-key-of-the-kubernetes-test"}
    try:
        run_vault(command("migrate")[3:], directory, environment).check_returncode()
        with subprocess.Popen(command("vault"), stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                running = next(json.loads(line) for line in server.stdout or () if "Vault API is running" in line)
                trust = ssl.create_default_context(cafile=str(directory / "authority.pem"))
                url = f"https://localhost:{running['listen_addr'].rpartition(':')[2]}/health/ready"
                with urllib.request.urlopen(url, timeout=10, context=trust) as answer:
                    assert json.load(answer)["status"] == "ready"
            finally:
                server.kill()
    finally:
        postgres.drop_database(database)
        postgres.sql(f"DROP ROLE IF EXISTS {role}")


def mounted(directory: Path, database: str) -> None:
    """Write what the volumes of the vault contain."""
    for name in ("settings", "tls", "signing"):
        (directory / name).mkdir(parents=True)
    authority = Authority(directory)
    issued = authority.server()
    shutil.copy(issued.cert_file, directory / "tls" / "tls.crt")
    shutil.copy(issued.key_file, directory / "tls" / "tls.key")
    (directory / "tls" / "tls.key").chmod(0o440)
    write_key(directory / "signing" / "signing.key", SigningKey.generate("vault.example/audit"))
    text = base()["ConfigMap"]["data"]["vsql-vault.toml"].replace("/etc/vsqlvault", str(directory))
    text = text.replace("0.0.0.0:8443", "127.0.0.1:0").replace("vsql_vault@127.0.0.1:5432/vault", database)
    (directory / "settings" / "vsql-vault.toml").write_text(text)


def test_the_objects_have_the_schema_of_kubernetes(objects: Objects) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for each in objects.values():
        validator.validate(each, VERSION, strict=True)
