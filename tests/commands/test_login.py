"""``headrace login``: which server and which key are meant, and that no key is ever shown."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from commands.running import Ended, done, next_of
from harness import RunningServer, new_key
from headrace.client import profiles
from headrace.client.profiles import NoProfile


@pytest.fixture
def config(home: Path) -> Path:
    return home / "config" / "headrace" / "config.toml"


def login(server: RunningServer, *words: str, key: str | None = None, code: int = 0) -> Ended:
    return done("login", server.url, *words, stdin=(key or server.admin_key).encode() + b"\n", code=code)


def test_a_server_is_stored_for_its_owner_alone(server: RunningServer, config: Path) -> None:
    ended = login(server)
    assert ended.out == f"default: {server.url}, as admin\n"
    assert server.admin_key not in ended.out + ended.err
    assert config.stat().st_mode & 0o777 == 0o600
    assert config.parent.stat().st_mode & 0o777 == 0o700
    assert done("pools", "ls", "-o", "json").json is not None


def test_a_key_that_is_wrong_is_not_stored(server: RunningServer, config: Path) -> None:
    ended = login(server, key="hr_app_wrong", code=1)
    assert "hr_app_wrong" not in ended.err
    assert not config.exists()


@pytest.mark.parametrize("key", ["", "two words", "nöt-ascii", "with\tcontrol"])
def test_a_key_that_is_none(server: RunningServer, config: Path, key: str) -> None:
    ended = done("login", server.url, stdin=key.encode() + b"\n", code=2)
    assert not key or key not in ended.err
    assert not config.exists()


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://u:secret@x", "http://x?key=secret"])
def test_a_url_that_is_none(url: str) -> None:
    ended = done("login", url, stdin=b"hr_app_x\n", code=2)
    assert "secret" not in ended.err.partition("Next:")[0]


def test_http_beyond_this_machine_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.commands.login._tried", lambda *_: "somebody")
    assert "in clear" in done("login", "http://192.0.2.1", stdin=b"hr_app_x\n").err


def test_several_servers(server: RunningServer, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    login(server, "--name", "one", "--pool", "p1")
    login(server, "--name", "two", key=new_key(api, permissions=["read"]))
    assert profiles.chosen().name == "one"
    assert profiles.chosen("two").name == "two"
    monkeypatch.setenv("HEADRACE_PROFILE", "two")
    assert profiles.chosen().name == "two"
    monkeypatch.delenv("HEADRACE_PROFILE")
    login(server, "--name", "two", "--default")
    assert profiles.chosen().name == "two"
    shown = done("profiles", "-o", "csv").out
    assert shown == f"name,url,pool,key\none,{server.url},p1,file\ntwo,{server.url},,file\n"
    done("logout", "two")
    assert list(profiles.stored()) == ["one"]
    assert "There is no profile 'two'" in done("pools", "ls", "--profile", "two", code=2).err


def test_the_pool_of_a_profile(server: RunningServer, api: httpx.Client, pool: str) -> None:
    login(server, "--pool", pool)
    assert done("tables", "ls", "-o", "json").json == []


def test_the_environment_comes_first(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    login(server, key=server.admin_key)
    monkeypatch.setenv("HEADRACE_KEY", "hr_app_other")
    assert profiles.chosen() == profiles.Profile("default", server.url, "hr_app_other")
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:1")
    assert profiles.chosen().url == "http://127.0.0.1:1"


def test_a_stored_key_goes_to_no_other_server(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    login(server)
    monkeypatch.setenv("HEADRACE_URL", server.url + "/")
    assert profiles.chosen().key == server.admin_key
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:1")
    with pytest.raises(NoProfile, match=r"No key is known for http://127\.0\.0\.1:1"):
        profiles.chosen()


def test_without_any(config: Path) -> None:
    ended = done("pools", "ls", code=2)
    assert next_of(ended) == "login <URL of the server>"


def test_a_file_that_others_can_read_is_warned_of(server: RunningServer, config: Path) -> None:
    login(server)
    config.chmod(0o644)
    assert f"chmod 600 {config}" in done("pools", "ls").err


@pytest.mark.parametrize(
    "text", ['key = "hr_app_secret', "profiles = 3", '[profiles.x]\nkey = "hr_app_secret"']
)
def test_a_file_that_cannot_be_read(config: Path, text: str) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(text)
    config.chmod(0o600)
    ended = done("pools", "ls", code=2)
    assert str(config) in ended.err
    assert "secret" not in ended.err


def test_a_profile_shows_no_key() -> None:
    assert "hr_app" not in repr(profiles.Profile("x", "http://x", "hr_app_secret"))


def test_a_self_signed_certificate(tls_server: RunningServer) -> None:
    key = tls_server.admin_key.encode() + b"\n"
    url = tls_server.url
    assert "certificate" in done("login", url, stdin=key, code=1).err.lower()
    done("login", url, "--certificate", str(tls_server.data_dir / "tls-cert.pem"), stdin=key)
    with tls_server.client() as api:  # whatever other tests have made
        there = {pool["id"] for pool in api.get("/integration/api/pools").json()}
    assert {pool["id"] for pool in done("pools", "ls", "-o", "json").json} == there
    done("login", url, "--name", "careless", "--insecure", stdin=key)
    careless = done("pools", "ls", "--profile", "careless", "-o", "json").json
    assert {pool["id"] for pool in careless} == there


# -- the keyring ---------------------------------------------------------------------------------------


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """The library with a keyring of its own: no system has one that a test could unlock."""
    import keyring  # noqa: PLC0415
    from keyring.backend import KeyringBackend  # noqa: PLC0415

    kept: dict[tuple[str, str], str] = {}

    class Ours(KeyringBackend):
        priority = 1.0

        def get_password(self, service: str, username: str) -> str | None:
            return kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            kept[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del kept[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(Ours())
    yield kept  # type: ignore[misc]
    keyring.set_keyring(before)


def test_a_key_in_the_keyring(server: RunningServer, config: Path, ring: dict[tuple[str, str], str]) -> None:
    login(server, "--keyring")
    assert ring == {("headrace", server.url): server.admin_key}
    assert server.admin_key not in config.read_text()
    assert done("pools", "ls", "-o", "json").json is not None
    assert done("profiles", "-o", "json").json[0]["key"] == "keyring"
    done("logout")
    assert ring == {}


def test_without_the_extra(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    ended = done("login", server.url, "--keyring", stdin=server.admin_key.encode(), code=2)
    assert "headrace[keyring]" in ended.err


def test_a_keyring_that_is_locked_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: str) -> str:
        raise RuntimeError("locked")

    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=locked))
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:1")
    assert "No key is known" in done("pools", "ls", code=2).err
