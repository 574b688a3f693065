"""Every attempt to get out of a query, against the whole and against each wall with the others taken away.

What counts is the effect: nothing of another pool or of the machine in an answer, no byte of any file
changed, nothing that was connected to. Where the gate stands, every attempt is refused besides.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from counted import counted
from engine.attacks import ATTACKS, Attack
from engine.test_sandbox import Lake, new_lake
from harness import RunningServer, create_pool, run_job, wait_for
from headrace import confinement
from headrace.errors import HeadraceError, QueryRefused
from headrace.model import TableRef
from headrace.tables.lakefiles import LakeFiles, Wall
from headrace.tables.sandbox import Sandbox
from lakes import PLACES, Place, files_of, place, place_settings

SECRETS = ("theirs-8f3a", "secret", "outside-51c2", "waiting-77aa", "root:x:0:", "hr_app_", "PATH=")
MADE_ELSEWHERE = [Path("/dev/shm/headrace-attack.csv"), Path("/tmp/headrace-attack.csv")]

CONFINED = pytest.mark.skipif(
    set(confinement.WALLS) > {wall.split()[0] for wall in confinement.available()},
    reason="the system has no Landlock or no seccomp",
)


@dataclass
class World:
    """Two pools as the server lays them out, a folder of somebody else, a port that somebody listens on."""

    root: Path
    lake: Lake
    other: LakeFiles
    listener: socket.socket

    def filled_in(self, attack: Attack) -> str:
        pools, port = self.root / "pools", self.listener.getsockname()[1]
        return filled_in(attack, pools / "mine", pools / "other", self.root / "out", port)

    def files(self) -> dict[str, str]:
        ours = (p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink())
        found = {str(p): sha256(p.read_bytes()).hexdigest() for p in ours}
        for data in (self.lake.files.data, self.other.data):
            found |= {path: str(size) for path, size in files_of(data).items() if not data.folder}
        return found | {str(p): "is there" for p in MADE_ELSEWHERE if p.exists()}

    def connected(self) -> bool:
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


_names = itertools.count()


def filled_in(attack: Attack, own: Path, other: Path, out: Path, port: int) -> str:
    """What it attaches has a name of its own, so that no attempt fails for the one before."""
    sql = (
        re.sub(r"\bx\b(?! INTEGER)", f"x{next(_names)}", attack.sql) if "ATTACH" in attack.sql else attack.sql
    )
    for word, meaning in {"OTHER/": f"{other}/", "OWN": own, "OUT": out, "PORT": port}.items():
        sql = sql.replace(word, str(meaning))
    return sql


@pytest.fixture(scope="module", params=[p for p in PLACES if p is not Place.DATABASE])
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    root = tmp_path_factory.mktemp("attacks")
    (root / "pools").mkdir()
    lakes = None
    if request.param is Place.STORE:
        _, lakes = place(place_settings(request.param, request), root)
    other = new_lake(root / "pools" / "other", lakes)
    other.write("CREATE TABLE secret AS SELECT 'theirs-8f3a' AS s FROM range(2000)")
    other.writer.close()
    mine = new_lake(root / "pools" / "mine", lakes)
    mine.write(
        "CREATE TABLE orders AS SELECT i AS id, 'x' AS text FROM range(2000) t(i); "
        "CREATE SCHEMA headrace; CREATE TABLE headrace.loads AS SELECT 1 AS job"
    )
    mine.writer.close()
    (root / "pools" / "mine" / "staging").mkdir()
    (root / "pools" / "mine" / "staging" / "waiting.csv").write_text("waiting-77aa")
    (root / "out").mkdir()
    for name in ("outside.csv", "outside.json"):
        (root / "out" / name).write_text('{"a": "outside-51c2"}')
    (root / "out" / "link").symlink_to("/etc/passwd")
    (root / "admin-key").write_text("hr_app_secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield World(root, mine, other.files, listener)


def reached(world: World, rows: object, before: dict[str, str]) -> list[str]:
    """What an attempt got at."""
    found = [secret for secret in SECRETS if secret in repr(rows)]
    after = world.files()
    if after != before:
        found += sorted({path for path, _ in set(after.items()) ^ set(before.items())})
    return found + ["the network"] * world.connected()


def attempt(sandbox: Sandbox, world: World, attack: Attack) -> object:
    """The rows it gets, or the error."""
    try:
        answer = sandbox.query(
            world.lake.files, [TableRef("orders")], world.filled_in(attack), max_rows=10_000, seconds=20
        )
    except (HeadraceError, RuntimeError) as error:  # one of ours, or what the engine said
        return error
    return answer.rows


CANARY = Attack("", "SELECT count(*) FROM orders")
SYSTEM, GATE, ENGINE = Wall.SYSTEM, Wall.GATE, Wall.ENGINE


@pytest.mark.parametrize(
    "walls",
    [
        pytest.param({SYSTEM}, id="the system alone", marks=CONFINED),
        pytest.param({SYSTEM, ENGINE}, id="without the gate", marks=CONFINED),
    ],
)
def test_nothing_is_reached_without_the_gate(world: World, walls: set[Wall]) -> None:
    sandbox = Sandbox(processes=1, memory_mb=256, walls=frozenset(walls), temp=world.root.parent)
    before = world.files()
    through = []
    try:
        for attack in ATTACKS:
            got = attempt(sandbox, world, attack)
            names = attack.kind in ("setting", "catalog")  # of its own pool and process
            if found := reached(world, None if names else _lines(got), before):
                through.append((attack.sql, found))
            if attempt(sandbox, world, CANARY) != [[2000]]:
                sandbox.forget(world.lake.files)  # it has spoiled its own child, and the next gets a new one
    finally:
        sandbox.close()
    counted(f"attacks on {' and '.join(sorted(walls))} alone", len(ATTACKS), len(through))
    assert not through


def _lines(got: object) -> object:
    """Errors may repeat the names in their own query."""
    return None if isinstance(got, Exception) else got


@pytest.mark.parametrize(
    "walls",
    [{GATE}, {GATE, SYSTEM}, {GATE, ENGINE}, {GATE, ENGINE, SYSTEM}],
    ids=lambda w: " ".join(sorted(w)),
)
def test_the_gate_refuses_all(world: World, walls: set[Wall]) -> None:
    sandbox = Sandbox(processes=1, memory_mb=256, walls=frozenset(walls), temp=world.root.parent)
    before = world.files()
    try:
        got = [attempt(sandbox, world, attack) for attack in ATTACKS]
        good = sandbox.query(
            world.lake.files, [TableRef("orders")], "SELECT count(*) FROM orders", max_rows=1, seconds=20
        )
    finally:
        sandbox.close()
    through = [a.sql for a, g in zip(ATTACKS, got, strict=True) if not isinstance(g, QueryRefused)]
    counted(f"attacks on {' and '.join(sorted(walls))}", len(ATTACKS), len(through))
    assert not through
    assert not reached(world, None, before)
    assert good.rows == [[2000]]


def test_the_attempts_would_be_seen(world: World) -> None:
    """With no wall at all a good part of them gets through: what finds them is not blind."""
    sandbox = Sandbox(processes=1, memory_mb=256, walls=frozenset(), temp=world.root.parent)
    before = world.files()
    try:
        through = [a.sql for a in ATTACKS[:75] if reached(world, _lines(attempt(sandbox, world, a)), before)]
    finally:
        sandbox.close()
    assert len(through) > 25


# -- the real server -----------------------------------------------------------------------------------


def kept_files(server: RunningServer, *pools: str) -> dict[str, str]:
    """What these pools have, and the first key."""
    folders = [server.data_dir / "pools" / pool for pool in pools]
    wanted = [server.data_dir / "admin-key", *(p for folder in folders for p in folder.rglob("*"))]
    passing = ("-wal", "-shm")
    return {
        str(p): sha256(p.read_bytes()).hexdigest()
        for p in wanted
        if p.is_file() and not p.name.endswith(passing)
    }


def staged(server: RunningServer, *pools: str) -> list[Path]:
    folders = [server.data_dir / "pools" / pool / "staging" for pool in pools]
    return [path for folder in folders for path in folder.rglob("*")]


def test_the_server_refuses_all(server: RunningServer, api: httpx.Client, tmp_path: Path) -> None:
    mine, other = create_pool(api, "mine"), create_pool(api, "other")
    for pool, table in ((mine, "orders"), (other, "secret")):
        rows = "".join(f"{n},theirs-8f3a\n" for n in range(2000))
        assert run_job(api, pool, table, [f"id,text\n{rows}".encode()], fileType="CSV")["status"] == "DONE"
    wait_for(lambda: not staged(server, mine, other), what="the jobs to be tidied up")
    before = kept_files(server, mine, other)
    through = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for attack in ATTACKS:
            pools, port = server.data_dir / "pools", listener.getsockname()[1]
            sql = filled_in(attack, pools / mine, pools / other, tmp_path, port)
            reply = api.post(f"/api/v1/pools/{mine}/sql", json={"sql": sql})
            if reply.status_code != 400 or reply.json()["code"] != "query-refused":
                through.append((attack.sql, reply.text))
        with pytest.raises(BlockingIOError):
            listener.accept()
    counted("attacks on a running server", len(ATTACKS), len(through))
    assert not through
    assert kept_files(server, mine, other) == before
    assert not os.listdir(tmp_path)  # noqa: PTH208
    assert not [path for path in MADE_ELSEWHERE if path.exists()]
    reply = api.post(f"/api/v1/pools/{mine}/sql", json={"sql": "SELECT count(*) FROM orders"})
    assert reply.json()["rows"] == [[2000]]
