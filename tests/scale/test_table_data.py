"""Data of tables in a store of objects: what the suites of the engine, which run over it, do not ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from engine.test_sandbox import Lake as Pool
from engine.test_sandbox import new_lake as new_pool
from engine.test_undo import (  # noqa: F401  a selection, over the store
    test_a_table_that_was_replaced,
    test_columns_lengths_and_known_keys_are_as_before,
)
from engine.test_upkeep import (  # noqa: F401
    K_V,
    Lake,
    NewLake,
    some_pushes,
    test_nothing_that_is_needed_leaves_the_disk,
    test_old_versions_go_when_they_are_not_kept,
)
from harness import (
    RunningServer,
    RunningWorker,
    add_chunk,
    create_job,
    create_pool,
    execute,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)
from headrace import wiring
from headrace.errors import StorageUnreachable
from headrace.folders import CannotStart
from headrace.locks import LocksOfProcess
from headrace.model import JobType, TableRef
from headrace.settings import CatalogPlace, Settings
from headrace.tables import upkeep
from headrace.tables.datafolders import DataFolders
from headrace.tables.dataobjects import DataStore
from headrace.tables.ducklake import DuckLakeTables
from headrace.tables.lakefiles import Wall
from headrace.tables.postgrescatalogs import PostgresCatalogs
from headrace.tables.sandbox import Sandbox
from headrace.tables.serving import Blocks
from lakes import files_of
from objectstore import ObjectStore
from postgres import Postgres
from scale.installation import Installation, environment, installation
from scale.test_catalogs import a_load
from scale.test_storms import LONG

REF = TableRef("t")
Opened = Callable[..., Lake]


@pytest.fixture
def opened(tmp_path: Path, postgres: Postgres) -> Iterator[Opened]:
    with ExitStack() as stack:

        def open(store: ObjectStore, keep_days: float = 7.0, loads: int = 2) -> Lake:
            sandbox = Sandbox(processes=1, memory_mb=256, temp=tmp_path)
            stack.callback(sandbox.close)
            tables = DuckLakeTables(
                tmp_path / "pools",
                memory_mb=256,
                temp=tmp_path,
                locks=LocksOfProcess(),
                catalogs=PostgresCatalogs(postgres.database()),
                data=lakes_in(store),
                sandbox=sandbox,
                keep_versions_days=keep_days,
                upkeep_loads=loads,
            )
            stack.callback(tables.close)
            return Lake(tables, tmp_path, "pool", REF, count(1))

        yield open


@pytest.fixture
def new_lake(object_store: ObjectStore, opened: Opened) -> NewLake:
    def make(ref: TableRef = REF, *, keep_days: float = 7.0, loads: int = 1) -> Lake:
        return replace(opened(object_store, keep_days, loads), ref=ref)

    return make


def lakes_in(store: ObjectStore) -> DataStore:
    settings = Settings(**named(store.environment(store.place())))  # type: ignore[arg-type]
    return DataStore(settings.storage_url, settings.storage_access, lambda _: None)


def named(environment: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("HEADRACE_").lower(): value for name, value in environment.items()}


def asked(lake: Lake, query: str = "SELECT k, v FROM t ORDER BY k") -> list[list[object]]:
    """By users' SQL, in a child that can reach nothing."""
    return lake.tables.reader.query(lake.pool, [REF], query, max_rows=10_000, seconds=60).rows


def old_versions(lake: Lake) -> dict[int, object]:
    return {version: lake.rows(version) for version in lake.versions()}


# -- files ---------------------------------------------------------------------------------------------


def test_nothing_of_a_pool_lies_on_the_disk(
    object_store: ObjectStore, opened: Opened, tmp_path: Path
) -> None:
    lake = opened(object_store)
    expected = some_pushes(lake)
    lake.maintain()
    assert not [p for p in (tmp_path / "pools").rglob("*") if p.is_file()]
    assert asked(lake) == sorted([k, v] for k, v, _ in expected.values())
    assert lake.tables._data.pools() == [lake.pool]
    assert lake.tables._data.bytes(lake.pool) == sum(files_of(lake.data).values()) > 0
    for version in lake.versions()[-2:]:
        then = asked(lake, f"SELECT k, v FROM t AT (VERSION => {version}) ORDER BY k")
        assert then == sorted([k, v] for k, v, _ in lake.rows(version))
    lake.tables.drop_pool(lake.pool)
    lake.tables.drop_pool(lake.pool)
    assert (files_of(lake.data), lake.tables._data.pools()) == ({}, [])


def test_orphans_go_by_their_age_and_nothing_else(
    object_store: ObjectStore, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = opened(object_store)
    some_pushes(lake)
    lake.push(K_V, [(1, "x")], type=JobType.REPLACE)
    lake.maintain()
    known, before = files_of(lake.data), old_versions(lake)
    killed = {f"{lake.data.place}{name}/0.parquet" for name in ("up/job-1-2-ab/0", "main/t", "compact")}
    for path in killed:
        lake.data.take(next(iter(known)), path)
    lake.tables.expire(lake.pool)
    assert files_of(lake.data).keys() == known.keys() | killed, "they may be of somebody at work"
    monkeypatch.setattr(upkeep, "_ORPHANS_GRACE", "-1 hour")
    lake.tables.expire(lake.pool)
    assert files_of(lake.data) == known
    assert old_versions(lake) == before


def test_the_store_goes_in_the_middle(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with ObjectStore() as own:
        lake = opened(own)
        lake.push(K_V, [(0, "older")], keys=("k",))
        lake.push(K_V, [(0, "before")], keys=("k",))
        assert asked(lake) == [[0, "before"]]
        load = a_load(lake, lambda: None, [(1, "mine")])
        own.stop()
        lake.tables.reader.forget(lake.pool)  # who reads knows the files by heart
        monkeypatch.setattr(lake.tables._data, "_blocks", Blocks(own.objects("place-1", hasty=True)))
        for act in (
            lambda: lake.tables.load(lake.pool, load),
            lambda: lake.tables.undo(lake.pool, "job-2", [REF]),
            lambda: lake.tables.maintain(lake.pool, REF),
            lambda: asked(lake),
        ):
            with pytest.raises(StorageUnreachable) as refused:
                act()
            said = f"{refused.value} {refused.value.__cause__!r} {refused.value.__context__!r}"
            assert own.secret not in said
            assert own.key not in said
        own.start()
        assert lake.tables.receipt(lake.pool, load.job_id) is None
        lake.tables.load(lake.pool, load)
        assert asked(lake) == [[0, "before"], [1, "mine"]]


# -- walls ---------------------------------------------------------------------------------------------


def test_a_child_sees_the_files_of_its_own_lake_alone(object_store: ObjectStore, tmp_path: Path) -> None:
    """Without the gate and the engine's settings: what is left is who serves it."""
    lakes = lakes_in(object_store)
    for wall in (Wall.SYSTEM, Wall.ENGINE) if LONG else (Wall.SYSTEM,):
        other, mine = (a_pool(tmp_path / f"{wall}-{name}", lakes) for name in ("other", "mine"))
        [theirs] = [path.removeprefix(other.files.data.place) for path in files_of(other.files.data)]
        [own] = [path.removeprefix(mine.files.data.place) for path in files_of(mine.files.data)]
        before = files_of(mine.files.data) | files_of(other.files.data)
        sandbox = Sandbox(processes=1, memory_mb=256, temp=tmp_path, walls=frozenset({wall}))

        def rows(query: str, sandbox: Sandbox = sandbox, mine: Pool = mine) -> list[list[object]]:
            return sandbox.query(mine.files, [], query, max_rows=1, seconds=60).rows

        assert (
            rows("SELECT s FROM secret")
            == rows(f"SELECT s FROM 'lake://data/{own}'")
            == [[f"row of {wall}-mine"]]
        )
        for attack in (
            f"FROM 'lake://data/../../{wall}-other/data/{theirs}'",
            f"FROM 'lake://data/../../../pools/{other.files.data.root}/{theirs}'",
            f"FROM 'lake://{theirs}'",
            f"FROM '{other.files.data.place}{theirs}'",
            f"FROM read_parquet('{object_store.endpoint}/headrace/{theirs}')",
            "FROM glob('lake://data/../../other/**')",
            f"COPY (SELECT 1) TO 'lake://data/{own}'",
            "COPY (SELECT 1) TO 'lake://data/main/secret/more.parquet' (FORMAT parquet)",
            "FROM 'lake://data/'",
            "FROM 'lake://data/" + "x" * 5000 + ".parquet'",
        ):
            try:
                found = rows(attack)
            except Exception as error:
                found = [[str(error)]]
            assert "-other'" not in repr(found), attack
        assert files_of(mine.files.data) | files_of(other.files.data) == before
        assert rows("SELECT s FROM secret") == [[f"row of {wall}-mine"]]
        sandbox.close()


def a_pool(folder: Path, lakes: DataStore) -> Pool:
    made = new_pool(folder, lakes)
    made.write(f"CREATE TABLE secret AS SELECT 'row of {folder.name}' AS s FROM range(2000)")
    made.writer.close()
    return made


# -- where they are looked for -------------------------------------------------------------------------


def test_data_that_lie_elsewhere_are_not_taken_for_empty(
    tmp_path: Path, postgres: Postgres, object_store: ObjectStore, opened: Opened
) -> None:
    database = SecretStr(postgres.database())
    in_store = named(object_store.environment(object_store.place()))
    folder = Settings(data_dir=tmp_path, database_url=database)
    store = folder.model_copy(update=Settings(**in_store).model_dump(include=set(in_store)))  # type: ignore[arg-type]
    another = store.model_copy(update={"storage_url": f"{store.storage_url}-2"})
    files = store.model_copy(update={"catalogs": CatalogPlace.FILES})
    pools = tmp_path / "pools"
    assert isinstance(wiring.data_of(files, pools, tmp_path), DataFolders)
    catalogs = PostgresCatalogs(database.get_secret_value())
    sandbox = Sandbox(processes=1, memory_mb=256, temp=tmp_path)
    tables = DuckLakeTables(
        pools,
        memory_mb=256,
        temp=tmp_path,
        locks=LocksOfProcess(),
        catalogs=catalogs,
        data=wiring.data_of(store, pools, tmp_path),
        sandbox=sandbox,
        keep_versions_days=1,
        upkeep_loads=2,
    )
    tables.open_pool("pool")
    tables.close()
    sandbox.close()
    for settings in (folder, another):
        with pytest.raises(CannotStart, match="set storage_url"):
            wiring.catalogs_of(settings, pools, wiring.data_of(settings, pools, tmp_path))
    wiring.catalogs_of(store, pools, wiring.data_of(store, pools, tmp_path)).close()
    (pools / "pool" / "data" / "main").mkdir(parents=True)
    with pytest.raises(CannotStart, match="take storage_url away"):
        wiring.data_of(store, pools, tmp_path)
    with pytest.raises(CannotStart, match="need storage_key"):
        wiring.data_of(store.model_copy(update={"storage_key": ""}), tmp_path / "none", tmp_path)


# -- an installation without a common folder -----------------------------------------------------------


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, object_store: ObjectStore
) -> Iterator[Installation]:
    folder, env = tmp_path_factory.mktemp("whole"), object_store.environment("tables-apart")
    with installation(folder, postgres.database(), apart=True, **env) as made:
        yield made


@pytest.fixture
def apis(whole: Installation) -> Iterator[list[httpx.Client]]:
    key = f"AppKey {whole.servers[0].admin_key}"
    with ExitStack() as stack:
        yield [stack.enter_context(server.client(key)) for server in whole.servers]


def test_servers_and_workers_share_no_folder(
    whole: Installation, apis: list[httpx.Client], object_store: ObjectStore, tmp_path: Path
) -> None:
    one, other = apis
    assert len({process.data_dir for process in whole.processes}) == 4
    pool = create_pool(one)
    spec = {"fileType": "CSV", "type": "DELTA", "keys": ["k"]}
    jobs = [
        run_job(apis[n % 2], pool, "t", [f"k,v\n{n},{n}\n{n + 1},{n}\n".encode()], **spec) for n in range(4)
    ]
    assert [job["status"] for job in jobs] == ["DONE"] * 4
    rows = [["0", "0"], ["1", "1"], ["2", "2"], ["3", "3"], ["4", "3"]]
    for api in apis:
        assert sql(api, pool, "SELECT k, v FROM t ORDER BY k") == rows
    exported = tmp_path / "t.parquet"
    exported.write_bytes(other.get(f"/api/v1/pools/{pool}/tables/t/export?format=parquet").content)
    assert pq.read_table(exported).num_rows == 5
    assert other.post(f"/api/v1/pools/{pool}/upkeep").is_success
    undone = one.post(f"/api/v1/pools/{pool}/jobs/{jobs[-1]['id']}/undo")
    assert undone.is_success, undone.text
    for api in apis:
        assert sql(api, pool, "SELECT k, v FROM t ORDER BY k") == [*rows[:3], ["3", "2"]]
    shown = other.get(f"/api/v1/pools/{pool}/tables/t").json()
    assert shown["rows"] == 4
    place = object_store.objects("tables-apart")
    assert list(place.found(f"pools/{pool}/data"))
    assert not [p for made in whole.processes for p in made.data_dir.glob("pools/*/data/**/*")]
    assert other.delete(f"/integration/api/pools/{pool}").is_success
    assert not list(place.found(f"pools/{pool}"))
    for process in whole.processes:
        assert object_store.secret not in process.log


@pytest.mark.skipif(not LONG, reason="three installations: a part of make test-scale")
@pytest.mark.parametrize("point", ["before-commit", "committing", "committed"])
def test_a_worker_that_dies_is_followed_by_one_with_another_folder(
    tmp_path: Path, postgres: Postgres, object_store: ObjectStore, point: str
) -> None:
    database, prefix = postgres.database(), object_store.place()
    env, place = object_store.environment(prefix), object_store.objects(prefix)
    with (
        installation(tmp_path, database, servers=1, workers=0, **env) as made,
        made.servers[0].client() as api,
    ):
        pool = create_pool(api)
        run = {"env": environment(database, HEADRACE_CRASH_AT=point, **env), "name": "doomed"}
        doomed = RunningWorker(tmp_path / "doomed", **run).start()
        job = create_job(api, pool, "t", fileType="CSV", type="DELTA")["id"]
        add_chunk(api, pool, job, b"a\n1\n")
        execute(api, pool, job)
        wait_for(lambda: doomed.process and doomed.process.poll() is not None, what="its death")
        [left] = [found.key for found in place.found(f"pools/{pool}/data")]
        with RunningWorker(tmp_path / "next", env=environment(database, **env), name="worker"):
            assert wait_for_job(api, pool, job)["status"] == "DONE"
            assert sql(api, pool, "SELECT a FROM t") == [["1"]]
        [kept] = [found.key for found in place.found(f"pools/{pool}/data")]
        assert (kept == left) == (point == "committed"), "what the dead one left and did not commit is gone"


@pytest.mark.skipif(not LONG, reason="a server and a store of its own: a part of make test-scale")
def test_a_read_while_the_store_is_away(tmp_path: Path, postgres: Postgres) -> None:
    with ObjectStore() as own:
        env = {"HEADRACE_DATABASE_URL": postgres.database(), **own.environment("away")}
        with RunningServer(tmp_path / "data", env=env) as server, server.client() as api:
            pool = create_pool(api)
            run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")
            own.stop()
            reply = api.post(f"/api/v1/pools/{pool}/sql", json={"sql": "SELECT a FROM t"})
            assert (reply.status_code, reply.json()["code"]) == (503, "storage-unreachable")
            own.start()
            assert sql(api, pool, "SELECT a FROM t") == [["1"]]
            assert own.secret not in server.log
