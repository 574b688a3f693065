"""docs/testing.md says what is there, and what it shows works; so does the upload in docs/api.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from docs.test_docs import blocks, coded, rows
from harness import RunningServer, create_job, own_job
from headrace.faults import FaultKind
from headrace.web.routes import TEST_ROUTES

DOCUMENT = "docs/testing.md"


def test_its_routes_and_kinds() -> None:
    written = {
        (row[0], coded(row[1])[0], row[2]) for row in rows(DOCUMENT) if len(row) == 4 and row[0] != "method"
    }
    assert written == {(r.method, r.path, str(r.needs)) for r in TEST_ROUTES}
    kinds = [coded(row[0]) for row in rows(DOCUMENT) if len(row) == 3 and row[0].startswith("`")]
    assert [kind for [kind] in kinds] == list(FaultKind)


def test_none_of_it_is_there_by_default(api: httpx.Client) -> None:
    for route in TEST_ROUTES:
        assert api.request(route.method, route.path, json={}).status_code == 404
    assert not any("/testing/" in path for path in api.get("/openapi.json").json()["paths"])


def test_its_python(tmp_path: Path) -> None:
    first, of_pytest = blocks(DOCUMENT, "python")
    (tmp_path / "seed.json").write_text(blocks(DOCUMENT, "json")[0])
    subprocess.run([sys.executable, "-c", first], cwd=tmp_path, check=True, timeout=120)
    compile(of_pytest, DOCUMENT, "exec")


def test_the_upload_of_the_api(server: RunningServer, api: httpx.Client, pool: str, tmp_path: Path) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    data = b"a\n" + b"1\n" * 100
    (tmp_path / "orders.csv").write_bytes(data)
    [block] = blocks("docs/api.md", "python")
    names = {"URL": server.url, "POOL": pool, "JOB": job, "KEY": server.admin_key}
    script = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + block
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    assert [chunk["bytes"] for chunk in own_job(api, pool, job)["chunks"]] == [len(data)]
