"""``headrace sql``: from wherever the SELECT comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.running import done

pytestmark = pytest.mark.usefixtures("there")
Filled = tuple[str, str]


def test_sql(filled: Filled, home: Path) -> None:
    query, pool = "SELECT id, n, n AS n FROM t ORDER BY id", filled[0]
    assert done("sql", query, "--pool", pool, "-o", "csv").out == "id,n,n\na,1,1\nb,2,2\n"
    assert done("sql", query, "--pool", pool).out.splitlines()[1].split() == ["a", "1", "1"]
    assert done("sql", "-", "--pool", pool, "-o", "csv", stdin=query.encode()).out.startswith("id,")
    (home / "q.sql").write_text("SELECT count(*) AS n FROM rejects")
    assert done("sql", "--file", str(home / "q.sql"), "--pool", pool, "-o", "json").json == [{"n": 1}]


def test_sql_says_that_there_is_more(filled: Filled) -> None:
    ended = done("sql", "SELECT id FROM t", "--pool", filled[0], "--limit", "1")
    assert "more rows than these 1" in ended.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["DROP TABLE t"], 1, "SELECT"),
        ([], 2, "give the SELECT"),
        (["SELECT 1", "--file", "x.sql"], 2, "give the SELECT"),
        (["--file", "nowhere.sql"], 1, "nowhere.sql"),
        (["SELECT 1", "-o", "xml"], 2, "xml"),
    ],
)
def test_sql_that_is_refused(filled: Filled, words: list[str], code: int, told: str) -> None:
    assert told in done("sql", *words, "--pool", filled[0], code=code).err
