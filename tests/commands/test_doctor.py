"""``headrace doctor``: it finds what is wrong, and leaves all as it is."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from commands.running import done, headrace, next_of
from harness import RunningServer, wait_for
from headrace import confinement, diagnosis
from headrace.certificates import self_signed

Finding = dict[str, Any]


def found(folder: Path, *words: str) -> dict[str, Finding]:
    """What it finds by the name of the check; of several the worst."""
    ended = headrace("doctor", "--data-dir", str(folder), "-o", "json", *words)
    worst = sorted(ended.json, key=lambda f: ("ok", "warning", "fault").index(f["state"]))
    assert ended.code == (1 if any(f["state"] == "fault" for f in worst) else 0)
    return {f["check"]: f for f in worst}


def _port_of(server: RunningServer) -> str:
    return server.url.rpartition(":")[2]


def test_of_a_server_that_runs(server: RunningServer) -> None:
    before = {path.name for path in server.data_dir.iterdir()}
    all_of_it = found(server.data_dir, "--port", _port_of(server))
    assert {f["state"] for name, f in all_of_it.items() if name != "clients"} <= {"ok", "warning"}
    assert f"in use by process {server.pid}" in all_of_it["folder"]["found"]
    assert all_of_it["port"]["found"].endswith("answers")
    assert (all_of_it["metadata"]["state"], all_of_it["data"]["state"]) == ("ok", "ok")
    assert all_of_it["clients"]["advice"] == "start with --tls, or put a proxy with TLS in front"
    assert "ducklake" in all_of_it["extensions"]["found"]
    assert {path.name for path in server.data_dir.iterdir()} == before


def test_of_one_with_tls(tls_server: RunningServer) -> None:
    all_of_it = found(tls_server.data_dir, "--port", _port_of(tls_server), "--tls")
    assert (all_of_it["clients"]["state"], all_of_it["TLS"]["state"]) == ("ok", "ok")
    assert "self-signed" in all_of_it["clients"]["found"]


def test_at_another_port(server: RunningServer) -> None:
    assert (
        found(server.data_dir, "--port", "1")["port"]["advice"]
        == "name the server's port: --port, HEADRACE_PORT"
    )


def test_before_the_first_start(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = found(home / "new", "--port", str(busy.getsockname()[1]))
    assert "is not there yet" in taken["folder"]["found"]
    assert (taken["port"]["state"], taken["port"]["advice"]) == (
        "fault",
        "stop what uses it, or take another one: --port",
    )
    assert found(home / "new", "--port", "0")["port"]["state"] == "ok"
    assert not (home / "new").exists()


def test_a_table_for_people(home: Path) -> None:
    lines = done("doctor", "--data-dir", str(home / "new"), "--port", "0").out.splitlines()
    assert lines[0].split() == ["check", "state", "found", "advice"]
    assert {line.split()[0] for line in lines[1:]} >= {"settings", "folder", "disk", "port", "TLS", "clock"}


def test_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SQL_ROWS", "77")
    monkeypatch.setenv("HEADRACE_KEY", "hr_app_secret")
    monkeypatch.setenv("HEADRACE_SQL_ROWZ", "78")
    ended = headrace("doctor", "--data-dir", str(home), "--port", "0")
    assert "sql_rows=77" in ended.out
    assert "HEADRACE_SQL_ROWZ is no setting" in ended.out
    assert "secret" not in ended.out
    monkeypatch.setenv("HEADRACE_SQL_ROWS", "none")
    assert "sql_rows" in done("doctor", code=2).err


def test_a_disk_that_is_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MIN_FREE_DISK_BYTES", str(2**60))
    ended = headrace("doctor", "--data-dir", str(home), "--port", "0")
    assert "make room" in ended.out
    assert next_of(ended) == f"doctor --data-dir {home} --port 0"


def test_a_folder_that_others_may_read(home: Path) -> None:
    (home / "open").mkdir()
    (home / "open").chmod(0o755)  # a mode of mkdir is cut by the umask, which commands of other tests set
    assert found(home / "open", "--port", "0")["folder"]["advice"] == f"chmod 700 {home / 'open'}"


@pytest.mark.parametrize(
    ("certificate", "state", "told"),
    [
        (lambda folder: None, "ok", "the first start makes"),
        (lambda folder: self_signed(folder, "x"), "ok", "valid until"),
        (lambda folder: (folder / "tls-cert.pem").write_text("none"), "fault", "tls-cert.pem: "),
    ],
)
def test_certificates(home: Path, certificate: Callable[[Path], Any], state: str, told: str) -> None:
    certificate(home)
    tls = found(home, "--port", "0", "--tls")["TLS"]
    assert tls["state"] == state
    assert told in tls["found"]


def test_a_certificate_that_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    self_signed(home, "x")
    for year, state in ((2099, "fault"), (datetime.now(UTC).year + 9, "ok")):
        monkeypatch.setattr(diagnosis, "now", lambda year=year: datetime(year, 1, 1, tzinfo=UTC))
        assert diagnosis._certificate(home / "tls-cert.pem", home / "tls-key.pem").state == state


def test_half_of_a_certificate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_TLS_CERT", "/cert.pem")
    assert found(home, "--port", "0")["TLS"]["advice"] == "set both"


def test_metadata_of_a_newer_version(home: Path) -> None:
    with closing(sqlite3.connect(home / "metadata.sqlite")) as database:
        database.executescript(
            "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('9999')"
        )
    about = found(home, "--port", "0")["metadata"]
    assert (about["state"], about["advice"]) == ("fault", "install the version of Headrace that wrote them")


def test_damaged_metadata(home: Path) -> None:
    (home / "metadata.sqlite").write_bytes(b"no database" * 1000)
    about = found(home, "--port", "0")["metadata"]
    assert (about["state"], about["advice"]) == ("fault", "restore the newest backup: headrace restore")


def test_a_clock_that_was_set_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(home, (0, 2**32))
    assert next(diagnosis._clock(home)).state == "warning"
    monkeypatch.setattr(diagnosis, "now", lambda: datetime(1970, 1, 2, tzinfo=UTC))
    assert next(diagnosis._clock(home)).state == "fault"


def test_a_kernel_without_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "available", lambda: ("seccomp",))
    [about] = diagnosis._confinement()
    assert (about.state, about.found) == ("warning", "queries run without landlock")


def test_a_server_is_seen_by_its_lock(home: Path) -> None:
    from headrace.folders import only_server_of, server_of  # noqa: PLC0415

    assert server_of(home) is None
    with only_server_of(home):
        assert server_of(home) == os.getpid()
    assert wait_for(lambda: server_of(home) is None)
