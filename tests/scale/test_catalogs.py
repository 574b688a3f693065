"""Catalogs of pools in PostgreSQL: what the suites of the engine, which run over both, do not ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import duckdb
import pytest
from duckdb_extensions import import_extension
from pydantic import SecretStr

from engine.test_upkeep import K_V, Columns, Lake, Rows
from headrace import wiring
from headrace.errors import DatabaseUnreachable
from headrace.folders import CannotStart
from headrace.locks import LocksOfProcess
from headrace.model import INTEGER, STRING, Table, TableRef
from headrace.server import run
from headrace.settings import CatalogPlace, Settings
from headrace.tables import Load
from headrace.tables.catalogs import Catalogs
from headrace.tables.datafolders import DataFolders
from headrace.tables.ducklake import DuckLakeTables
from headrace.tables.postgrescatalogs import PostgresCatalogs
from headrace.tables.sandbox import Sandbox
from postgres import Postgres

REF = TableRef("t")
ODD = "a\x00b \\ ' \" $$ \n ; -- é😀"


class Taken(Exception):
    """Somebody else has the job by now."""


Opened = Callable[[str, int], list[Lake]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """So many processes of an installation, which know nothing of each other's locks."""
    with ExitStack() as stack:

        def open(url: str, processes: int) -> list[Lake]:
            made = []
            for number in range(processes):
                temp = tmp_path / f"temp-{number}"
                temp.mkdir()
                sandbox = Sandbox(processes=1, memory_mb=256, temp=temp)
                stack.callback(sandbox.close)
                tables = DuckLakeTables(
                    tmp_path / "pools",
                    memory_mb=256,
                    temp=temp,
                    locks=LocksOfProcess(),
                    catalogs=PostgresCatalogs(url),
                    data=DataFolders(tmp_path / "pools"),
                    sandbox=sandbox,
                    keep_versions_days=7.0,
                    upkeep_loads=2,
                )
                stack.callback(tables.close)
                made.append(Lake(tables, temp, "pool", REF, count(100 * number + 1)))
            return made

        yield open


def a_load(lake: Lake, still_mine: Callable[[], None], rows: Rows, columns: Columns = K_V) -> Load:
    """An append, by the job ``theirs``."""
    number = next(lake.numbers)
    made: list[Load] = []
    taken = replace(lake, tables=Noting(made), numbers=iter([number]))  # type: ignore[arg-type]
    taken.push(columns, rows)
    return replace(made[0], job_id="theirs", still_mine=still_mine)


def found(lake: Lake) -> Table:
    table = lake.tables.find(lake.pool, REF)
    assert table
    return table


class Noting:
    def __init__(self, made: list[Load]) -> None:
        self._made = made

    def load(self, _pool: str, load: Load) -> None:
        self._made.append(load)


def test_whoever_lost_its_lock_commits_nothing(postgres: Postgres, opened: Opened) -> None:
    """All checks are behind it, and its COMMIT comes late: after that of whoever has taken the job over."""
    late, early = opened(postgres.database(), 2)
    late.push(K_V, [(0, "before")])
    rows, asked = [(1, "once")], list[str]()

    def mine() -> None:
        asked.append("")
        if len(asked) > 1:
            raise Taken
        early.tables.load(early.pool, replace(a_load(early, lambda: None, rows), fence=2))

    lost = a_load(late, mine, rows)
    receipt = late.tables.load(late.pool, lost)
    assert len(asked) == 1, "the receipt of the other tells what was done"
    assert receipt == early.tables.receipt(early.pool, "theirs")
    assert [row[:2] for row in late.rows()] == [(0, "before"), (1, "once")]
    assert len(late.versions()) == 2


def test_a_try_that_fails_takes_no_file_of_one_whose_commit_may_still_arrive(
    postgres: Postgres, opened: Opened
) -> None:
    late, next_try = opened(postgres.database(), 2)
    rows = [(1, "once")]

    def lost() -> None:
        raise Taken

    def mine() -> None:
        with pytest.raises(Taken):
            next_try.tables.load(next_try.pool, replace(a_load(next_try, lost, rows), fence=2))

    late.tables.load(late.pool, a_load(late, mine, rows))
    assert [row[:2] for row in late.rows()] == rows


def test_another_commit_in_between_is_a_conflict_that_is_tried_again(
    postgres: Postgres, opened: Opened
) -> None:
    one, other = opened(postgres.database(), 2)
    one.push(K_V, [(0, "before")])
    asked = list[str]()

    def mine() -> None:
        asked.append("")
        if len(asked) == 1:
            other.push(K_V, [(2, "between")])

    one.tables.load(one.pool, a_load(one, mine, [(1, "mine")]))
    assert len(asked) == 2
    assert [row[:2] for row in one.rows()] == [(0, "before"), (1, "mine"), (2, "between")]


def test_the_database_goes_in_the_middle_of_a_load(opened: Opened) -> None:
    with Postgres() as own:
        [lake] = opened(own.database(), 1)
        lake.push(K_V, [(0, "before")])

        def mine() -> None:
            own.stop()

        with pytest.raises(DatabaseUnreachable) as refused:
            lake.tables.load(lake.pool, a_load(lake, mine, [(1, "mine")]))
        assert own.password not in f"{refused.value} {refused.value.__cause__}"
        own.start()
        assert lake.tables.receipt(lake.pool, "theirs") is None
        lake.tables.load(lake.pool, a_load(lake, lambda: None, [(1, "mine")]))
        assert [row[:2] for row in lake.rows()] == [(0, "before"), (1, "mine")]


def test_texts_that_the_database_does_not_take(postgres: Postgres, opened: Opened) -> None:
    [lake] = opened(postgres.database(), 1)
    for rows in ([(1, ODD)], [(2, ODD + "x"), (3, "")], [(1, ODD + "y")]):
        lake.push(K_V, rows, keys=("k",))
    lake.maintain()
    assert [row[:2] for row in lake.rows()] == [(1, ODD + "y"), (2, ODD + "x"), (3, "")]
    answer = lake.tables.reader.query(lake.pool, [REF], "SELECT v FROM t ORDER BY k", max_rows=9, seconds=30)
    assert [value for (value,) in answer.rows] == [ODD + "y", ODD + "x", ""]


@pytest.mark.parametrize(
    "names",
    [("xmin", "CTID"), ("n" * 70 + "1", "n" * 70 + "2"), [f"c{n}" for n in range(1601)]],
    ids=["of the system", "long", "many"],
)
def test_columns_that_a_table_of_the_database_cannot_have(
    names: Sequence[str], postgres: Postgres, opened: Opened
) -> None:
    [lake] = opened(postgres.database(), 1)
    columns: Columns = {"k": INTEGER} | dict.fromkeys(names, STRING)
    lake.push({"k": INTEGER, names[0]: STRING}, [(0, "old"), (1, "old")], keys=("k",))
    lake.push(columns, [(1, *names)], keys=("k",))
    lake.push({"k": INTEGER}, deletes=[(0,)], keys=("k",))
    assert [row[:-1] for row in lake.rows()] == [(1, *names)]
    before = found(lake)
    lake.tables.undo(lake.pool, "job-3", [REF])
    assert found(lake).columns == before.columns
    assert len(lake.rows()) == 2


def test_a_pool_that_is_dropped_leaves_no_schema(postgres: Postgres, opened: Opened) -> None:
    url = postgres.database()
    [lake] = opened(url, 1)
    catalogs = PostgresCatalogs(url)
    assert not catalogs.any()
    lake.push(K_V, [(0, "a")])
    assert catalogs.any()
    lake.tables.drop_pool(lake.pool)
    lake.tables.drop_pool(lake.pool)
    assert not catalogs.any()
    catalogs.close()


@pytest.mark.parametrize(("place", "another"), [("files", "database"), ("database", "files")])
def test_catalogs_that_lie_elsewhere_are_not_taken_for_empty(
    tmp_path: Path, postgres: Postgres, place: CatalogPlace, another: CatalogPlace
) -> None:
    """They stay where they are: a setting moves nothing."""
    asked = Settings(data_dir=tmp_path, database_url=SecretStr(postgres.database()), catalogs=another)
    chosen = asked.model_copy(update={"catalogs": CatalogPlace(place)})
    with catalogs_of(chosen) as made:
        tables = made.of("pool")
        with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as engine:
            for extension in ("ducklake", made.extension):
                import_extension(extension, con=engine)
                engine.execute(f"LOAD {extension}")
            made.set_up(engine)
            (tmp_path / "pools" / "pool").mkdir(parents=True)
            engine.execute(
                f"ATTACH {tables.attach()} AS lake (DATA_PATH '{tmp_path}/data/', {tables.options()})"
            )
    with catalogs_of(chosen):
        pass
    with pytest.raises(CannotStart, match=f"set catalogs to '{place}'"), catalogs_of(asked):
        pass


@contextmanager
def catalogs_of(settings: Settings) -> Iterator[Catalogs]:
    pools = settings.data_dir / "pools"
    made = wiring.catalogs_of(settings, pools, DataFolders(pools))
    try:
        yield made
    finally:
        made.close()


def test_without_a_database_catalogs_are_files(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="need database_url"):
        run(Settings(data_dir=tmp_path, catalogs=CatalogPlace.DATABASE), print)
