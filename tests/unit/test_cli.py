"""The command as a person types it: what it prints, and its exit codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import __version__
from headrace.folders import only_server_of


def headrace(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs to its end, or is killed: no test here lets a server start."""
    command = [sys.executable, "-m", "headrace", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    env |= {"NO_COLOR": "1", "COLUMNS": "200", **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)


def refused(ended: subprocess.CompletedProcess[str], code: int) -> str:
    """What the command says when it does not do what it was told."""
    assert ended.returncode == code
    assert "ready" not in ended.stdout
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_version() -> None:
    ended = headrace("version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{__version__}\n", "")


def test_help() -> None:
    ended = headrace("serve", "--help")
    assert ended.returncode == 0
    assert all(option in ended.stdout for option in ("--data-dir", "--host", "--port", "--tls"))


@pytest.mark.parametrize("words", ["bogus", "serve --bogus --port http"])
def test_what_is_no_command(words: str) -> None:
    assert "Usage: " in refused(headrace(*words.split()), 2)


def test_a_setting_out_of_bounds(tmp_path: Path) -> None:
    said = refused(
        headrace("serve", "--port", "70000", "--data-dir", str(tmp_path), HEADRACE_LOAD_WORKERS="0"), 2
    )
    first, second = said.splitlines()
    assert first.startswith("headrace: port: ")
    assert second.startswith("load_workers: ")
    assert list(tmp_path.iterdir()) == []


def test_a_second_server_on_the_same_folder(tmp_path: Path) -> None:
    with only_server_of(tmp_path):
        said = refused(headrace("serve", "--port", "0", "--data-dir", str(tmp_path)), 1)
    assert said == (
        f"headrace: Another Headrace server (process {os.getpid()}) uses {tmp_path}. "
        "Stop it, or give this one another --data-dir.\n"
    )


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        said = refused(headrace("serve", "--port", str(port), "--data-dir", str(tmp_path)), 1)
    assert said == f"headrace: Cannot listen on 127.0.0.1:{port}: Address already in use.\n"


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("CRASH_AT", "nowhere", "no crash point 'nowhere'"),
        ("HOST", "192.0.2.1", "Cannot listen on 192.0.2.1:0"),
        ("TLS_CERT", "/nothing.pem", "tls_cert and tls_key go together"),
    ],
)
def test_a_setting_that_cannot_be_followed(tmp_path: Path, setting: str, value: str, told: str) -> None:
    said = refused(
        headrace("serve", "--port", "0", "--data-dir", str(tmp_path), **{f"HEADRACE_{setting}": value}), 1
    )
    assert told in said


@pytest.mark.parametrize("folder", ["file/below"])
def test_a_folder_that_cannot_be(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    assert "file" in refused(headrace("serve", "--port", "0", "--data-dir", str(tmp_path / folder)), 1)


def test_a_host_that_is_unknown(tmp_path: Path) -> None:
    said = refused(
        headrace("serve", "--port", "0", "--host", "no.such.invalid", "--data-dir", str(tmp_path)), 1
    )
    assert "no.such.invalid" in said


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    script = "from headrace.logs import _Stderr; log = _Stderr(); log.write('line'); log.flush(); print('on')"
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert (ended.stdout, ended.returncode) == ("on\n", 0)
