"""Makes the data folder of a released version for test_upgrade.py: ``python release.py COMMIT VERSION``.

The server of that commit is started with the libraries of today, and pushed to.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from harness import RunningServer, add_chunk, create_job, create_pool, run_job  # noqa: E402

KEYED = {"fileType": "CSV", "keys": ["id"]}
ORDERS = b"id,name,amount\n" + b"".join(b"%d,name %d,%d.5\n" % (n, n, n) for n in range(1000))
CHANGED = b"id,name,amount\n" + b"".join(b"%d,changed,0\n" % n for n in range(900, 1100))
DELETED = b"id\n" + b"".join(b"%d\n" % n for n in range(100))
TYPED = {"tableSchema": {"tableName": "events", "columns": [{"columnName": "n", "columnType": "INTEGER"}]}}


def main(commit: str, version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, data = Path(folder) / "source", Path(folder) / "data"
        source.mkdir()
        packed = subprocess.run(["git", "archive", commit, "src"], capture_output=True, check=True).stdout
        subprocess.run(["tar", "x", "-C", str(source)], input=packed, check=True)
        with RunningServer(data, env={"PYTHONPATH": str(source / "src")}) as server:
            push(server)
        with tarfile.open(HERE / "released" / f"{version}.tar.xz", "w:xz") as archive:
            archive.add(data, "data")


def push(server: RunningServer) -> None:
    """Every kind of job, one that failed, one that waits with a chunk."""
    with server.client() as api:
        pool = create_pool(api, "released")
        done = run_job(api, pool, "orders", [ORDERS], type="REPLACE", **KEYED)
        changed = run_job(api, pool, "orders", [CHANGED, ("deleted", DELETED)], type="DELTA", **KEYED)
        events = run_job(api, pool, "events", [b"n,text\n1,a\n2,b\n"], fileType="CSV", **TYPED)
        failed = run_job(api, pool, "events", [b"n,text\nx,c\n"], fileType="CSV", type="DELTA", **TYPED)
        states = [job["status"] for job in (done, changed, events, failed)]
        assert states == ["DONE", "DONE", "DONE", "ERROR"], states
        waiting = create_job(api, pool, "events", fileType="CSV", type="DELTA", **TYPED)["id"]
        assert add_chunk(api, pool, waiting, b"n,text\n3,c\n").status_code == 200


if __name__ == "__main__":
    main(*sys.argv[1:])
