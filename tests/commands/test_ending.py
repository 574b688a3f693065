"""What belongs to all commands: help, exit codes, pipes, signals, terminals, and that no key is shown."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from typer.main import get_command

from commands.running import done, headrace, next_of, started
from harness import RunningServer, create_pool, run_job, wait_for
from headrace.cli import app
from headrace.commands.ending import Code
from headrace.commands.output import plain

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def every_command(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of each command, and the command."""
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, (*words, name))
        else:
            yield (*words, name), command


ALL = dict(every_command())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help(words: tuple[str, ...]) -> None:
    shown = done(*words, "--help").out
    assert f"Usage: headrace {' '.join(words)}" in shown
    for parameter in ALL[words].params:
        assert parameter.param_type_name == "argument" or parameter.opts[0] in shown
        assert getattr(parameter, "help", "") or parameter.name == "help", (
            f"{words}: {parameter.name} has no help"
        )
    assert not CONTROL.search(shown)


def test_the_list_is_the_one_that_was_wanted() -> None:
    groups = {words[0] for words in ALL}
    assert groups >= {
        "serve",
        "push",
        "jobs",
        "rejects",
        "pools",
        "tables",
        "sql",
        "keys",
        "doctor",
        "maintain",
    }
    assert groups >= {"backup", "restore", "login"}


def test_no_option_takes_a_secret() -> None:
    """Everybody on the machine can read the words of a process."""
    for words, command in ALL.items():
        for parameter in command.params:
            secretive = re.search(r"key|secret|password|token", parameter.name)
            assert (
                not secretive
                or (words, parameter.name)
                in {
                    (("push",), "key"),  # a column
                    (("login",), "keyring"),  # a flag
                    *(((*words[:1], words[-1]), "key_id") for words in ALL if words[0] == "keys"),
                }
            ), f"{words}: {parameter.name}"


def test_version_is_quick() -> None:
    """CPU, not time: what is slow to import is not imported."""
    script = "import resource, sys; sys.argv = ['headrace', 'version']\n"
    script += (
        "import atexit; atexit.register(lambda: print(resource.getrusage(0).ru_utime, file=sys.stderr))\n"
    )
    script += "from headrace.cli import app; app()"
    took = [
        float(
            subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stderr
        )
        for _ in range(10)  # beside others a core is slower: the quickest counts
    ]
    assert min(took) < 0.3
    loaded = "import sys, headrace.cli; print(*sys.modules)"
    listed = subprocess.run([sys.executable, "-c", loaded], capture_output=True, check=True, text=True)
    modules = listed.stdout.split()
    assert not {"httpx", "duckdb", "pyarrow", "sqlalchemy", "pydantic", "rich", "fastapi"} & set(modules)


pytestmark = pytest.mark.usefixtures("there")


@pytest.fixture(scope="module")
def odd(api: httpx.Client) -> str:
    """A pool with a value that would take a terminal over."""
    pool = create_pool(api)
    rows = b"id,text\n" + b"".join(
        b"%d,\x1b[31mred\x1b]0;title\x07 [bold]x[/bold]\n" % n for n in range(3000)
    )
    run_job(api, pool, "t", [rows], fileType="CSV")
    return pool


def test_no_control_codes_beside_a_terminal(odd: str) -> None:
    for words in (
        ["tables", "head", "t", "--pool", odd],
        ["sql", "SELECT text FROM t", "--pool", odd],
        ["sql", "SELECT text FROM t", "--pool", odd, "-o", "json"],
        ["pools", "ls"],
        ["tables", "profile", "t", "--pool", odd],
        ["sql", "SELECT \x1b[31m", "--pool", odd],
    ):
        ended = headrace(*words)
        assert not CONTROL.search(ended.out + ended.err), words
    assert "[bold]x[/bold]" in done("tables", "head", "t", "--pool", odd).out


def test_a_terminal_gets_a_table_and_no_commands_of_others(odd: str) -> None:
    """On a real one: bold headers are ours, and what the value would do is shown and not done."""
    ours, theirs = pty.openpty()
    words = ("sql", "SELECT id, text FROM t LIMIT 1", "--pool", odd)
    with started(*words, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(theirs)
        seen = b""
        try:
            while block := os.read(ours, 4096):
                seen += block
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0
    os.close(ours)
    text = seen.decode()
    assert "\x1b[1m" in text
    assert "\\x1b[31mred\\x1b]0;title\\x07 [bold]x[/bold]" in text
    assert "\x1b[31m" not in text and "\x07" not in text


@pytest.mark.parametrize("text", ["a\x1b[0m", "b\x9b1m", "c\x7f", "d\r\n", "e\u202ef"])
def test_plain(text: str) -> None:
    assert not CONTROL.search(plain(text))
    assert "\u202e" not in plain(text)


def test_a_broken_pipe_is_no_fault(odd: str) -> None:
    """As ``headrace … | head -1``: no traceback, and no word."""
    words = ("sql", "SELECT * FROM t", "--pool", odd, "-o", "csv")
    with started(*words) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == Code.CLOSED
        assert process.stderr.read() == b""
    with started("tables", "export", "t", "--pool", odd) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == Code.CLOSED
        assert process.stderr.read() == b""


def test_ctrl_c_ends_a_query(odd: str, there: RunningServer) -> None:
    endless = "SELECT count(*) FROM t a, t b, t c, t d WHERE a.id || b.id || c.id || d.id = 'x'"
    before = _cpu_of_children(there)
    with started("sql", endless, "--pool", odd) as process:
        wait_for(lambda: _cpu_of_children(there) > before + 0.5, what="the query to run")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        told = process.stderr.read().decode().splitlines()
    assert told == [
        "headrace: interrupted.",
        f"Next: {shlex.join(['headrace', 'sql', endless, '--pool', odd])}",
    ]


def _cpu_of_children(server: RunningServer) -> float:
    return sum(child.cpu_times().user for child in psutil.Process(server.pid).children(recursive=True))


def test_no_output_has_a_key(there: RunningServer, odd: str, orders: str) -> None:
    key = there.admin_key
    for words in (
        ["pools", "ls", "-o", "json"],
        ["pools", "show", odd],
        ["jobs", "ls", "--pool", odd, "-o", "json"],
        ["tables", "show", "nothing", "--pool", odd],
        ["push", orders, "--pool", odd, "--table", "t", "--dry-run", "-o", "json"],
        ["push", orders, "--pool", "nothing", "--table", "t"],
        ["doctor", "--data-dir", str(there.data_dir), "-o", "json"],
        ["keys", "list", "--data-dir", str(there.data_dir)],
        ["profiles"],
    ):
        ended = headrace(*words)
        assert key not in ended.out + ended.err, words


@pytest.mark.parametrize("key", ["hr_app_with\nnewline", "hr_app_nöt", "hr_app_wrong"])
def test_a_key_that_is_no_good_is_not_repeated(
    there: RunningServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("HEADRACE_KEY", key)
    ended = headrace("pools", "ls")
    assert ended.code in (1, 2)
    assert "Traceback" not in ended.err
    assert "hr_app" not in ended.out + ended.err
    assert next_of(ended) == "login <URL of the server>"


def test_what_is_no_headrace_server(there: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer  # noqa: PLC0415
    from threading import Thread  # noqa: PLC0415

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as other:
        thread = Thread(target=other.handle_request)
        thread.start()
        monkeypatch.setenv("HEADRACE_URL", f"http://127.0.0.1:{other.server_port}")
        assert "is no Headrace server" in done("pools", "ls", code=1).err
        thread.join()
