"""The pytest plugin as another project meets it: in a run of pytest of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SEED = """
pools:
  Sales:
    id: 8b5f9a4e-8f0c-4f1c-a6b5-0d5f6c1d2e3f
    tables:
      orders:
        keys: [id]
        rows:
          - {id: 1, customer: Ada, day: 2024-02-29}
          - {id: 2, amount: 1.5}
      items: {file: items.csv}
"""

TESTS = """
import httpx

POOL = "8b5f9a4e-8f0c-4f1c-a6b5-0d5f6c1d2e3f"

def test_the_seed_is_there(headrace_server):
    pool = headrace_server.client().pool("Sales")
    assert pool.id == POOL
    found = pool.sql("SELECT id, customer, CAST(day AS VARCHAR) AS day, amount FROM orders ORDER BY id")
    assert found == [
        {"id": 1, "customer": "Ada", "day": "2024-02-29", "amount": None},
        {"id": 2, "customer": None, "day": None, "amount": 1.5},
    ]
    assert pool.sql("SELECT sku FROM items") == [{"sku": "007"}]
    headrace_server.reset()
    assert pool.sql("SELECT count(*) AS n FROM orders") == [{"n": 2}]

def test_a_pool_of_its_own(headrace_pool, headrace_server):
    assert headrace_pool.tables() == []
    headrace_pool.push("items.csv", table="orders")
    assert headrace_pool.sql("SELECT sku FROM orders") == [{"sku": "007"}]
    headrace_server.faults.answer(503, times=None, path="/api/team")

def test_another_pool(headrace_pool, headrace_server):
    assert headrace_pool.tables() == []
    assert headrace_server.faults.left() == []
    assert headrace_server.http().get("/api/team").status_code == 200
"""


def test_the_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nheadrace_seed = seed.yaml\nfilterwarnings = error\n")
    pytester.makefile(".yaml", seed=SEED)
    pytester.makefile(".csv", items="sku\n007\n")
    pytester.makepyfile(TESTS)
    pytester.runpytest_subprocess("-p", "no:schemathesis", "-p", "no:cacheprovider").assert_outcomes(passed=3)


def test_who_does_not_ask_pays_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\n\ndef test_it():\n"
        "    assert 'headrace.pytest_plugin' in sys.modules\n"
        "    assert not {'duckdb', 'pyarrow', 'httpx', 'headrace.client'} & set(sys.modules)\n"
    )
    options = [
        word for name in ("schemathesis", "hypothesispytest", "anyio") for word in ("-p", f"no:{name}")
    ]
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=1)
