"""What tables take on the disk, as their lake knows it."""

# ruff: noqa: F811  the fixtures are those of another file

from __future__ import annotations

from engine.test_upkeep import K_V, Lake, NewLake, disk, engines, new_lake, some_pushes  # noqa: F401  fixtures
from headrace.model import INTEGER, JobType, TableRef
from headrace.tables import StoredTable
from lakes import files_of


def stored(lake: Lake) -> StoredTable:
    [table] = [t for t in lake.tables.stored(lake.pool).tables if t.ref == lake.ref]
    return table


def on_disk(lake: Lake) -> int:
    """Bytes of all files of the pool's tables; those of our own books are no table's."""
    ours = f"{lake.data.place}headrace/"
    return sum(size for path, size in files_of(lake.data).items() if not path.startswith(ours))


def test_a_pool_that_was_never_loaded_takes_nothing(new_lake: NewLake) -> None:
    lake = new_lake()
    assert lake.tables.stored(lake.pool).tables == ()


def test_each_file_is_of_now_or_of_old_versions(new_lake: NewLake) -> None:
    lake = new_lake(loads=1000)
    some_pushes(lake)
    before = stored(lake)
    assert (before.files, before.old_bytes, before.upkeep_at) == (lake.files(), 0, None)
    assert before.bytes == on_disk(lake)
    lake.tables.maintain(lake.pool, lake.ref)
    after = stored(lake)
    assert (before.files, after.files) == (5, lake.files())
    assert after.files < before.files
    assert after.old_bytes > 0
    assert after.bytes + after.old_bytes == on_disk(lake)
    newest = lake.tables.versions(lake.pool, lake.ref)[0]
    assert (newest.changes, after.upkeep_at) == ("upkeep", newest.at)
    assert lake.tables.stored(lake.pool).versions > 5


def test_the_files_of_a_table_that_was_made_anew_are_its_own(new_lake: NewLake) -> None:
    lake = new_lake(TableRef("t", "00000000-0000-0000-0000-000000000001"), loads=1000)
    lake.push(K_V, [(1, "a")])
    lake.push({"other": INTEGER}, [(1,)], type=JobType.REPLACE)
    found = stored(lake)
    assert found.files == 1
    assert found.old_bytes > 0
    assert found.bytes + found.old_bytes == on_disk(lake)
