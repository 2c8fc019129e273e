import stat
from pathlib import Path

import pytest

from poison_guard.config import open_settings
from poison_guard.errors import ConfigError
from poison_guard.ingest.objects import find_path
from poison_guard.store.key import read_key


def test_a_home_defaults_to_its_own_sqlite_and_lake(tmp_path):
    settings = open_settings(tmp_path, environ={})
    assert settings.store_url == f"sqlite:///{tmp_path / 'store.db'}"
    assert settings.lake_url == str(tmp_path / "lake")


def test_the_environment_comes_first_and_secrets_are_not_shown(tmp_path):
    settings = open_settings(tmp_path, environ={"POISON_GUARD_STORE": "postgresql+psycopg://u:hush@h/db"})
    assert "hush" in settings.store_url
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("store", "postgresql://u:hush@h/db"),
        ("store", "postgresql://u@h/db?password=hush"),
        ("lake", "s3://key:hush@bucket/lake"),
        ("lake", "abfs://lake/guard?sas_token=hush"),
    ],
)
def test_a_password_in_the_settings_file_is_refused(tmp_path, name, url):
    (tmp_path / "settings.toml").write_text(f'{name} = "{url}"\n')
    with pytest.raises(ConfigError, match=f"POISON_GUARD_{name.upper()}") as caught:
        open_settings(tmp_path, environ={})
    assert "hush" not in str(caught.value)


def test_the_key_is_made_once_and_kept_private(tmp_path, monkeypatch):
    monkeypatch.delenv("POISON_GUARD_KEY", raising=False)
    settings = open_settings(tmp_path, environ={})
    key = read_key(settings)
    assert len(key) == 32
    assert read_key(settings) == key
    assert stat.S_IMODE(settings.key_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("torn", ["", "0badc0de\n"])
def test_a_key_of_which_a_killed_command_wrote_nothing_or_half_is_named_with_the_way_out(tmp_path, monkeypatch, torn):
    monkeypatch.delenv("POISON_GUARD_KEY", raising=False)
    settings = open_settings(tmp_path, environ={})
    settings.key_file.write_text(torn)
    settings.key_file.chmod(0o600)
    with pytest.raises(ConfigError, match="restore it from a backup, or remove it where it is empty"):
        read_key(settings)


def test_a_command_that_dies_while_it_writes_the_key_leaves_no_key(tmp_path, monkeypatch):
    monkeypatch.delenv("POISON_GUARD_KEY", raising=False)
    settings = open_settings(tmp_path, environ={})

    def die(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr("poison_guard.files.os.fsync", die)
        with pytest.raises(KeyboardInterrupt):
            read_key(settings)
    assert not settings.key_file.exists()
    assert len(read_key(settings)) == 32


def test_a_key_that_others_can_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("POISON_GUARD_KEY", raising=False)
    settings = open_settings(tmp_path, environ={})
    read_key(settings)
    settings.key_file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_key(settings)


def test_paths_are_looked_for_beside_the_contract_then_in_the_home(tmp_path):
    contract = tmp_path / "feeds" / "x.toml"
    home = tmp_path / "home"
    (tmp_path / "feeds" / "data").mkdir(parents=True)
    assert find_path("data/*.csv", contract_file=contract, home=home) == str(tmp_path / "feeds" / "data/*.csv")
    assert find_path("inbox/*.csv", contract_file=contract, home=home) == str(home / "inbox/*.csv")
    assert find_path("*.csv", contract_file=contract, home=home) == str(home / "*.csv")
    assert find_path("s3://b/x", contract_file=contract, home=home) == "s3://b/x"
    assert find_path("/abs/x", contract_file=Path("c.toml"), home=home) == "/abs/x"


@pytest.mark.parametrize("value", ["0", "many", "-2", "1.5"])
def test_threads_must_be_a_whole_number(tmp_path, value):
    assert open_settings(tmp_path, environ={}).threads == 1
    assert open_settings(tmp_path, environ={"POISON_GUARD_THREADS": "3"}).threads == 3
    with pytest.raises(ConfigError, match="whole number"):
        open_settings(tmp_path, environ={"POISON_GUARD_THREADS": value})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_a_device_is_named_as_torch_names_it(tmp_path, device):
    (tmp_path / "settings.toml").write_text(f'device = "{device}"\n')
    assert open_settings(tmp_path, environ={}).device == device


def test_a_mistyped_device_is_refused_where_it_is_written(tmp_path):
    (tmp_path / "settings.toml").write_text('device = "cpuu"\n')
    with pytest.raises(ConfigError, match=r"device.*auto, cpu, cuda or cuda:N.*cpuu.*settings\.toml"):
        open_settings(tmp_path, environ={})
