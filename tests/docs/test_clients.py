"""The pages of the clients: every snippet is run against a real server."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import httpx
import pandas as pd
import pytest

from contract.pycelonis import PyCelonis
from docs import standin
from docs.pages import ROOT, blocks_of, commands, environment, run, write_files
from harness import RunningServer, create_pool, sql, wait_for
from headrace.client import Pool

RUN = {"curl": "curl", "requests": "python3", "java": "javac", "node": "node", "kafka": "python3"}
OTHERWISE = {"pycelonis", "low-code"}
FIRST = blocks_of("clients/index.md")


def test_every_page_is_run() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "clients").glob("*.md")}
    assert pages == {*RUN, *OTHERWISE, "index"}


@pytest.mark.parametrize("name", RUN)
def test_a_page(server: RunningServer, tmp_path: Path, name: str) -> None:
    if shutil.which(RUN[name]) is None:
        pytest.skip(f"there is no {RUN[name]} on this machine")
    blocks = blocks_of(f"clients/{name}.md")
    write_files(blocks, tmp_path)
    wanted = [*commands(FIRST), *commands(blocks)]
    assert any(expected for _, expected in wanted)
    run(wanted, tmp_path, environment(URL=server.url, KEY=server.admin_key))


def test_pycelonis(tls_server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    [snippet] = [block for block in blocks_of("clients/pycelonis.md") if block.title]
    monkeypatch.setenv("URL", tls_server.url)
    monkeypatch.setenv("KEY", tls_server.admin_key)
    with tls_server.client() as api, PyCelonis(tls_server, f"AppKey {tls_server.admin_key}") as client:
        pool = create_pool(api, "My pool")
        for name, module in standin.modules(client).items():
            monkeypatch.setitem(sys.modules, name, module)
        exec(compile(snippet.text, snippet.title, "exec"), {})
        assert sql(api, pool, "SELECT id, amount FROM orders ORDER BY id") == [
            ["0002", None],
            ["0003", 8.0],
            ["0004", 99.0],
        ]


# -- a table of requests: what a person types into the fields of a module ------------------------------


def steps(page: str) -> dict[str, list[str]]:
    """Method, URI, Content-Type and body of each step, by its name."""
    lines = [line for line in (ROOT / "docs" / page).read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines]
    return {name: rest for name, *rest in cells if rest[0] in ("GET", "POST")}


def test_low_code(server: RunningServer, api: httpx.Client, pool: str) -> None:
    known = {"URL": server.url, "KEY": server.admin_key, "POOL": pool, "file": "id,amount\n0001,12.50\n"}

    def filled(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: known[found[1]], text)

    def send(name: str) -> httpx.Response:
        method, uri, kind, body = wanted[name]
        headers = {"Authorization": filled("AppKey {KEY}"), **({"Content-Type": kind} if kind else {})}
        with server.client("") as client:
            reply = client.request(method, filled(uri), headers=headers, content=filled(body))
        assert reply.status_code == 200, reply.text
        return reply

    wanted = steps("clients/low-code.md")
    assert list(wanted) == ["create", "send", "execute", "wait"]
    known["id"] = send("create").json()["id"]
    send("send")
    send("execute")
    wait_for(lambda: send("wait").json()["status"] in ("DONE", "ERROR"), 60, "the loop to end")
    assert sql(api, pool, "SELECT id, amount FROM orders") == [["0001", "12.50"]]


def test_the_vendors_sink_can_read_why_it_is_refused(api: httpx.Client, pool: str) -> None:
    files = {"file": ("orders_partition-0.parquet", b"PAR1")}
    url = f"/continuous-batch-processing/api/v1/{pool}/items"
    reply = api.post(url, params={"targetName": "orders"}, files=files)
    assert reply.status_code == 404
    assert all(isinstance(reply.json()[name], str) for name in ("reference", "message"))


# -- our own client ------------------------------------------------------------------------------------


def test_the_python_client(
    server: RunningServer, api: httpx.Client, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page names the server and the pool of its reader; the rest is run as it stands."""
    snippet, _ = [block.text for block in blocks_of("client.md") if block.language == "python"]
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "1.csv").write_text("id,n\na,1\nb,2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mine = snippet.replace('"http://127.0.0.1:8080"', repr(server.url)).replace('"My pool"', repr(pool))
    assert mine.count(server.url) == mine.count(pool) == 1
    names: dict[str, Any] = {
        "key": server.admin_key,
        "frame": pd.DataFrame({"id": ["b", "c"], "n": ["20", "30"]}),
        "gone": pd.DataFrame({"id": ["a"]}),
    }
    exec(mine, names)
    names["pool"].calls.close()
    assert sql(api, pool, "SELECT id, n FROM orders ORDER BY id") == [["b", "20"], ["c", "30"]]


def test_what_the_python_client_does_with_jobs() -> None:
    """Each wants a job in a state of its own; that they work is tested beside the client."""
    _, snippet = [block.text for block in blocks_of("client.md") if block.language == "python"]
    pool = create_autospec(Pool, instance=True)
    exec(snippet, {"pool": pool, "job_id": "x"})
    assert len(pool.method_calls) == len(snippet.splitlines())
