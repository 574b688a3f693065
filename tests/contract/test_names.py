"""Names that were chosen to do harm: each lands in a table of exactly that name, or is refused, everywhere.

One row tells which name it was pushed under; whatever reads the table afterwards must find that row and no
other: lists, columns, SQL, exports, versions, upserts, mirrors, and the same name for a column. All of them
are tables with ``HEADRACE_ALL_NAMES=1`` (``make names``), else every eighth; columns they are all.
"""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from counted import counted
from harness import RunningServer, create_pool, parquet, run_job, sql

NAMES = [
    'quo"te',
    "quo'te",
    '"',
    "''",
    "`tick`",
    "[bracket]",
    "a.b",
    "main.orders",
    "lake.main.orders",
    ".",
    "..",
    "../../../etc/passwd",
    "/etc/passwd",
    "/BIC/ÄÖ",
    "a/b/../c",
    "a\\b",
    "C:\\Windows\\system32",
    "%2e%2e%2f",
    "%00",
    "a%2Fb",
    "?x=1&y=2#z",
    "a;b",
    "a b",
    " leading",
    "trailing ",
    "tab\there",
    "line\nbreak",
    "carriage\r\nreturn: x",
    "bell\x07",
    "escape\x1b[31m",
    "x; DROP TABLE orders; --",
    "x' OR '1'='1",
    '" UNION SELECT * FROM "secret',
    "'); DROP TABLE orders; --",
    "-- comment",
    "/* comment */",
    "SELECT",
    "select",
    "loads",
    "rejects",
    "main",
    "headrace",
    "headrace.loads",
    "information_schema",
    "duckdb_tables",
    "sqlite_master",
    "pg_catalog",
    "ducklake_table",
    "__ducklake_metadata_lake",
    "temp",
    "system",
    "read_csv",
    "x.csv",
    "s3://bucket/x.parquet",
    "http://127.0.0.1/x.csv",
    "*",
    "*.parquet",
    "data/*",
    "$1",
    "?",
    ":name",
    "{pool_id}",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "<script>alert(1)</script>",
    "=1+1",
    "😀",
    "👩‍👩‍👧‍👦",
    "日本語",
    "\u202eright-to-left",
    "\u200fmark",
    "zero\u200bwidth",
    "\ufeffbom",
    "café",
    "cafe\u0301",
    "ﬁ",
    "K",  # the sign of the kelvin
    "ı",
    "İstanbul",
    "ſ",
    "Straße",
    "ῼ",
    "CON",
    "nul",
    "~",
    "~root",
    "-rf",
    "--help",
    "a=b",
    "_CELONIS_CHANGE_DATE=x",
    "0",
    "1e5",
    "NULL",
    "true",
    "x" * 512,
    "é" * 512,
    "😀" * 512,
]
_every = 1 if os.environ.get("HEADRACE_ALL_NAMES") else 8
TRIED = list({name.casefold(): name for name in NAMES}.values())[::_every]
REFUSED = ["", "  ", "\t", "nul\x00byte", "\x00", "x" * 513, "x" * 10_000, "😀" * 513]
SAME = [
    ("Straße", "STRASSE"),
    ("Straße", "strasse"),
    ("ORDERS", "orders"),
    ("ÄRGER", "ärger"),
    ("İx", "i̇X"),
    ("K-elvin", "k-elvin"),
    ("ſum", "SUM"),
    ("ﬁx", "FIX"),
    ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
]
OTHER = [
    ("café", "cafe\u0301"),
    ("I", "ı"),
    ("a", "a "),
    ("a", "\u0430"),
    ("1", "\u0661"),
    ("x", "x\u200b"),
    ("İ", "I"),
]


@pytest.fixture(scope="module")
def pool(api: httpx.Client) -> Iterator[str]:
    made = create_pool(api, "names")
    assert _push(api, made, "orders", "the orders")["status"] == "DONE"
    yield made
    assert _seen(api, made, "orders") == ["the orders"]


def _push(api: httpx.Client, pool: str, name: str, says: str, **more: object) -> dict[str, object]:
    data = parquet({"id": ["1"], "says": [says]})
    return run_job(api, pool, name, [data], keys=["id"], **more)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _url(pool: str, name: str) -> str:
    # a client would take bare dots for a way upwards
    return f"/api/v1/pools/{pool}/tables/{quote(name, safe='').replace('.', '%2E')}"


def _seen(api: httpx.Client, pool: str, name: str) -> list[str]:
    reply = api.post(f"/api/v1/pools/{pool}/sql", json={"sql": f"SELECT says FROM {quoted(name)}"})
    assert reply.status_code == 200, (name, reply.text)
    return [says for (says,) in reply.json()["rows"]]


def _listed(api: httpx.Client, pool: str) -> list[str]:
    ours = [t["name"] for t in api.get(f"/api/v1/pools/{pool}/tables").json()]
    theirs = [t["name"] for t in api.get(f"/integration/api/pools/{pool}/tables").json()]
    assert sorted(ours) == sorted(theirs)
    return ours


def _exported(api: httpx.Client, pool: str, name: str) -> list[list[str]]:
    reply = api.get(_url(pool, name) + "/export")
    assert reply.status_code == 200, (name, reply.text)
    for header, value in reply.headers.items():
        assert "\n" not in value, header
        assert "\r" not in value, header
    return list(csv.reader(io.StringIO(reply.text, newline="")))


def _check(api: httpx.Client, pool: str, name: str, says: str) -> None:
    """Everything that takes the name finds this one row."""
    assert _seen(api, pool, name) == [says]
    assert [row[1] for row in _exported(api, pool, name)] == ["says", says]
    shown = api.get(_url(pool, name))
    assert shown.status_code == 200, (name, shown.text)
    assert (shown.json()["name"], shown.json()["rows"]) == (name, 1)
    columns = api.get(f"/integration/api/pools/{pool}/columns", params={"tableName": name}).json()
    assert [c["name"] for c in columns][:2] == ["id", "says"]


def test_every_name_lands_where_it_should(api: httpx.Client, pool: str, server: RunningServer) -> None:
    outside = _outside(server)
    for number, name in enumerate(TRIED):
        before = _listed(api, pool)
        assert _push(api, pool, name, f"first {number}")["status"] == "DONE", name
        assert sorted(_listed(api, pool)) == sorted([*before, name]), name
        mirror = f"mirror {name}"[:512]
        done = _push(api, pool, name, f"row {number}", type="DELTA", mirrorTargetNames=[mirror])
        assert done["status"] == "DONE", (name, done)
        _check(api, pool, name, f"row {number}")
        assert _seen(api, pool, mirror) == [f"row {number}"]
        versions = api.get(_url(pool, name)).json()["versions"]
        assert [v["change"] for v in versions] == ["DELTA", "REPLACE"], name
    for number, name in enumerate(TRIED):
        assert _seen(api, pool, name) == [f"row {number}"]
    assert _outside(server) == outside
    counted("table names that land where they should", len(TRIED), 0)


def _outside(server: RunningServer) -> set[Path]:
    """Folders of the server's own, and what lies beside them: no name makes a file there."""
    return {p for p in [*server.data_dir.iterdir(), *server.data_dir.parent.iterdir()] if p.name != "temp"}


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: ascii(name)[:30])
@pytest.mark.parametrize("field", ["targetName", "mirrorTargetNames"])
def test_names_that_no_table_may_have(api: httpx.Client, pool: str, name: str, field: str) -> None:
    before = _listed(api, pool)
    body = {"targetName": "orders", "dataPoolId": pool, field: name if field == "targetName" else [name]}
    reply = api.post(f"/integration/api/v1/data-push/{pool}/jobs", json=body)
    assert reply.status_code == 400, reply.text
    assert len(reply.text) < 1000
    assert _listed(api, pool) == before
    assert api.get(_url(pool, name or "\x00")).status_code in (404, 400)


@pytest.mark.parametrize(("one", "other"), SAME, ids=ascii)
def test_names_that_differ_by_case_alone_are_one(api: httpx.Client, one: str, other: str) -> None:
    pool = create_pool(api, "same")
    assert _push(api, pool, one, "first")["status"] == "DONE"
    assert _push(api, pool, other, "second", type="DELTA")["status"] == "DONE"
    assert _listed(api, pool) == [one]
    for name in (one, other):
        assert [row[1] for row in _exported(api, pool, name)] == ["says", "second"], name
        assert api.get(_url(pool, name)).json()["rows"] == 1
    assert _seen(api, pool, one) == ["second"]
    assert _push(api, pool, other, "third")["status"] == "DONE"
    assert _seen(api, pool, one) == ["third"]


@pytest.mark.parametrize(("one", "other"), OTHER, ids=ascii)
def test_names_that_only_look_alike_are_two(api: httpx.Client, one: str, other: str) -> None:
    pool = create_pool(api, "two")
    for name in (one, other):
        assert _push(api, pool, name, name)["status"] == "DONE"
    assert sorted(_listed(api, pool)) == sorted([one, other])
    assert [_seen(api, pool, name) for name in (one, other)] == [[one], [other]]


def test_every_name_for_a_column(api: httpx.Client, pool: str) -> None:
    """A table with one column for each name, upserted; the engine's names are no exception."""
    folded: set[str] = {"id"}
    names = [n for n in NAMES if not (n.casefold() in folded or folded.add(n.casefold()))]
    values = {name: f"value {number}" for number, name in enumerate(names)}
    for says in ("old", ""):
        data = parquet({"id": ["1"], **{name: [f"{says}{value}"] for name, value in values.items()}})
        done = run_job(
            api, pool, "columns", [data], type="DELTA", keys=["id", names[0]][: 1 + (says == "old")]
        )
        assert done["status"] == "DONE", done["logs"]
    shown = [c["name"] for c in api.get(_url(pool, "columns")).json()["columns"]]
    assert shown == ["id", *names, "_CELONIS_CHANGE_DATE"]
    header, row = _exported(api, pool, "columns")
    assert dict(zip(header, row, strict=True)).items() >= values.items()
    [found] = sql(api, pool, f"SELECT {', '.join(map(quoted, names))} FROM columns")
    assert found == list(values.values())
    counted("column names that land where they should", len(names), 0)


def test_forms_of_unicode_are_told_apart() -> None:
    """The list has what it says it has."""
    assert unicodedata.normalize("NFC", "cafe\u0301") == "café"
    assert {"café", "cafe\u0301"} <= set(NAMES)
