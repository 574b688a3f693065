"""Clients that send next to nothing are cut off, and take neither memory nor time from the others.

``HEADRACE_SLOW_CLIENTS`` of them (100), with a window of ``HEADRACE_SLOW_WINDOW`` seconds (5).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import psutil
from slow import siege

from harness import RunningServer, add_chunk, create_job, create_pool, own_job, run_job

CLIENTS = int(os.environ.get("HEADRACE_SLOW_CLIENTS", "100"))
SECONDS = int(os.environ.get("HEADRACE_SLOW_WINDOW", "5"))


def test_slow_clients(tmp_path: Path) -> None:
    env = {"HEADRACE_SLOW_SECONDS": str(SECONDS)}
    with RunningServer(tmp_path / "data", env=env) as server, server.client() as api:
        pool = create_pool(api)
        assert run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")["status"] == "DONE"
        jobs = [create_job(api, pool, "t", fileType="CSV")["id"] for _ in range(2)]
        assert add_chunk(api, pool, jobs[0], b"a\n1\n").status_code == 200
        key = api.headers["authorization"]
        seen = asyncio.run(siege(server, CLIENTS, 1.0, key, pool, jobs))
        connections = server_connections(server)
        assert own_job(api, pool, jobs[1])["chunks"] == []
        assert not list((server.data_dir / "chunks" / jobs[1]).glob("*"))
        assert run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")["status"] == "DONE"
    print(
        f"\n{CLIENTS} slow clients, gone after {min(seen.gone):.1f} to {max(seen.gone):.1f} s; "
        f"{len(seen.status_ms)} status calls beside them: median {seen.percentile(0.5):.1f} ms, "
        f"p99 {seen.percentile(0.99):.1f} ms; {seen.pushes} chunks; memory grew by {seen.grown_mb:.1f} MB\n"
        f"{dict(Counter(seen.answers))}"
    )
    assert len(seen.gone) == CLIENTS
    assert set(seen.answers) == {b"HTTP/1.1 408 too-slow"}
    assert connections < CLIENTS / 10
    assert seen.grown_mb < 150
    assert seen.pushes > 0


def server_connections(server: RunningServer) -> int:

    return sum(c.status == "ESTABLISHED" for c in psutil.Process(server.pid).net_connections("tcp"))
