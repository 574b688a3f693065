"""SIGTERM under load: all that is under way ends within ``drain_seconds``, and nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path

import httpx
from ran import ran

from harness import PUSH, RunningServer, create_pool, own_job, sql, wait_for, wait_for_job

PUSHERS, ROWS, DRAIN_S = 8, 20_000, 30


@dataclass
class Pusher:
    """Pushes one job after the other, and knows what was answered."""

    number: int
    jobs: dict[str, list[str]] = field(default_factory=dict)
    """The checksums of the chunks that were acknowledged."""
    executed: list[str] = field(default_factory=list)

    def push(self, url: str, key: str, pool: str) -> None:
        jobs = f"{url}{PUSH}/{pool}/jobs"
        headers = {"Authorization": f"AppKey {key}"}
        with httpx.Client(headers=headers, timeout=120, trust_env=False) as api:
            for number in count():
                spec = {"targetName": f"t{self.number % 4}", "type": "DELTA", "fileType": "CSV"}
                made = api.post(jobs, json=spec)
                if made.status_code != 200:
                    return
                self.jobs[job := made.json()["id"]] = []
                row = b"%d,%d,a value of some length\n" % (self.number, number)
                data = b"who,job,v\n" + row * ROWS
                sent = api.post(f"{jobs}/{job}/chunks/upserted", files={"file": ("rows.csv", data)})
                if sent.status_code != 200:
                    return
                self.jobs[job].append(sha256(data).hexdigest())
                if api.post(f"{jobs}/{job}").status_code != 200:
                    return
                self.executed.append(job)

    def until_it_goes(self, url: str, key: str, pool: str) -> None:
        try:
            self.push(url, key, pool)
        except httpx.TransportError:
            return


def test_under_load(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data").start()
    pushers = [Pusher(n) for n in range(PUSHERS)]
    with server.client() as api, ThreadPoolExecutor(PUSHERS) as threads:
        pool = create_pool(api)
        for pusher in pushers:
            threads.submit(pusher.until_it_goes, server.url, server.admin_key, pool)
        wait_for(lambda: sum(len(p.executed) for p in pushers) > 2 * PUSHERS, 120, "some executed jobs")
        assert server.stop(DRAIN_S + 30) == 0
    assert "ended in the middle" not in server.log
    with server.start(), server.client() as api:
        for pusher in pushers:
            for job, chunks in pusher.jobs.items():
                if job in pusher.executed:
                    assert wait_for_job(api, pool, job)["status"] == "DONE"
                assert [c["sha256"] for c in own_job(api, pool, job)["chunks"]][: len(chunks)] == chunks
        loaded = sum(sql(api, pool, f"SELECT count(*) FROM t{n}")[0][0] for n in range(4))
        done = [j for j in api.get(f"/api/v1/pools/{pool}/jobs?limit=1000").json() if j["status"] == "DONE"]
        assert loaded == ROWS * len(done)
    chunks = sum(len(chunks) for pusher in pushers for chunks in pusher.jobs.values())
    ran(
        "jobs of which SIGTERM met some under way",
        sum(len(p.jobs) for p in pushers),
        beside=f"{chunks} chunks",
    )
