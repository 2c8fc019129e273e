"""The compose files: whole, without a secret in them, and open to this machine alone."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import poison_guard
from tests.docs.reference import ENVIRONMENT

yaml = pytest.importorskip("yaml", reason="PyYAML comes with Airflow")
FOLDER = Path(poison_guard.__file__).parent.parent / "docker"
FILES = ("compose.yaml", "compose.celery.yaml", "compose.ray.yaml")
BESIDE = {"compose.celery.yaml": "compose.yaml"}
"""Files that are given together with another one."""
PROGRAMS = {"airflow", "ray", "sh"}


def services(name: str) -> dict[str, dict[str, Any]]:
    """Return the services of a file as compose sees them: what they extend and override is theirs."""
    document = yaml.safe_load((FOLDER / name).read_text())
    below = services(BESIDE[name]) if name in BESIDE else {}
    found = {key: dict(value) for key, value in below.items()}
    for key, own in document["services"].items():
        base = found.get(key, {})
        if "extends" in own:
            base = services(own["extends"]["file"])[own["extends"]["service"]]
        mixed = {k: {**base[k], **own[k]} for k in ("environment", "build", "depends_on") if k in base and k in own}
        found[key] = {**base, **own, **mixed}
    return found


def volumes(name: str) -> set[str]:
    declared = set(yaml.safe_load((FOLDER / name).read_text()).get("volumes") or ())
    return declared | (volumes(BESIDE[name]) if name in BESIDE else set())


@pytest.mark.parametrize("name", FILES)
def test_every_service_has_an_image_and_what_it_needs(name: str):
    found = services(name)
    assert {"postgres"} < set(found)
    for key, service in found.items():
        assert service.get("image"), key
        assert set(service.get("depends_on", ())) <= set(found), key
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in volumes(name) or (FOLDER / source).exists(), f"{key} mounts {source}"
        command = service.get("command", "airflow")
        program = (shlex.split(command) if isinstance(command, str) else command)[0]
        assert program in PROGRAMS, key


@pytest.mark.parametrize("name", FILES)
def test_secrets_come_from_the_environment_and_must_be_there(name: str):
    text = (FOLDER / name).read_text()
    for secret in {*re.findall(r"\$\{(\w*(?:PASSWORD|SECRET))\}", text)}:
        assert re.search(rf"\$\{{{secret}:\?", text + (FOLDER / "compose.yaml").read_text()), secret
    assert not re.search(r"://\w*:[^$@/]+@", text), "a password is written down"


@pytest.mark.parametrize("name", FILES)
def test_the_guard_knows_each_of_its_settings_and_nothing_is_open_to_the_network(name: str):
    for key, service in services(name).items():
        ours = {k for k in service.get("environment", ()) if k.startswith("POISON_GUARD_")}
        assert ours <= set(ENVIRONMENT), key
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), key
        assert "no-new-privileges:true" in service.get("security_opt", ["no-new-privileges:true"]), key
        assert not service.get("privileged"), key


def test_every_process_of_celerys_airflow_has_the_same_executor_and_image():
    found = services("compose.celery.yaml")
    guards = {key: service for key, service in found.items() if "poison-guard" in service["image"]}
    assert {"scheduler", "worker", "api-server", "dag-processor", "migrate", "guard"} == set(guards)
    assert {service["environment"]["AIRFLOW__CORE__EXECUTOR"] for service in guards.values()} == {"CeleryExecutor"}
    assert {service["image"] for service in guards.values()} == {"poison-guard-celery"}
    assert len({service["environment"]["POISON_GUARD_STORE"] for service in guards.values()}) == 1
