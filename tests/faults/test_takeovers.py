"""A worker that sleeps in the middle of a load while another one takes its job over: the job counts once.

Real parts without HTTP, and a hook where the crash points are: there the worker waits, in the thing itself,
until the other has claimed the job, and has loaded it if nothing that the sleeper holds is in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from engine import model_of_loads as model
from engine.model_of_loads import Chunk
from engine.test_loads import DELETE, Loads, text
from harness import wait_for
from headrace import loading
from headrace.model import FileType, Job, JobStatus, JobType, PushSpec, now
from headrace.settings import Settings
from headrace.tables import committing
from headrace.wiring import Parts, build

HOUR = timedelta(hours=1)


def job(type: JobType, keys: tuple[str, ...], *chunks: Chunk) -> model.Job:
    return model.Job(PushSpec("t", type, FileType.CSV, keys=keys), chunks)


BEGINNING = job(JobType.REPLACE, ("k",), text("k v", *(f"k{n} old" for n in range(9))))
PUSHES = {
    "replace": job(JobType.REPLACE, ("k",), text("k v", "a 1", "b 2")),
    "append": job(JobType.DELTA, (), text("k v", "a 1", "a 1"), text("k v", "b 2")),
    "delta": job(JobType.DELTA, ("k",), text("k v", "k1 n", "x n"), text("k", "k2", "z", type=DELETE)),
}
UNLOCKED, LOCKED = ["reduced"], ["before-commit", "committing", "committed"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("takeovers")
    built = build(Settings(data_dir=folder, staging_processes=1, sql_processes=1), folder)
    built.start()
    yield built
    built.stop(30)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], list[str]]:
    """Do something at the first passage of a crash point; what is answered tells when that has been."""

    def hook(point: str, act: Callable[[], None]) -> list[str]:
        passed: list[str] = []

        def here(name: str) -> None:
            if name == point and not passed:
                passed.append(name)
                act()

        monkeypatch.setattr(loading, "crash_point", here)
        monkeypatch.setattr(committing, "crash_point", here)
        return passed

    return hook


@pytest.mark.parametrize("kind", PUSHES)
@pytest.mark.parametrize("point", [*UNLOCKED, *LOCKED])
def test_a_job_that_is_taken_over_counts_once(
    point: str, kind: str, parts: Parts, at: Callable[[str, Callable[[], None]], list[str]]
) -> None:
    loads, expected, jobs = Loads(parts), model.Model(), parts.metadata.jobs
    for push in (BEGINNING, PUSHES[kind]):
        expected.apply(push)
    loads.run(BEGINNING)
    sent = loads.new(PUSHES[kind])

    def now_known() -> Job:
        found = jobs.get(sent.pool_id, sent.id)
        assert found is not None
        return found

    def taken_over() -> None:
        """For a worker whose clock is an hour ahead, and who dies; then for the other one of ours."""
        lost = jobs.claim("another worker", now() + HOUR, -2 * HOUR)
        assert lost is not None and (lost.id, lost.fence) == (sent.id, 2)
        wait_for(lambda: now_known().fence == 3, 60, "another claim")
        if point in UNLOCKED:
            wait_for(lambda: now_known().status.final, 60, "the end of the other load")

    passed = at(point, taken_over)
    ended = loads.execute(sent)
    assert passed and (ended.status, ended.fence) == (JobStatus.DONE, 3)
    wait_for(lambda: not parts.worker._running, 60, "the end of the first load")
    rows = expected.tables["t"].rows
    assert loads.content("t", "k v") == sorted((row.values["k"], row.values["v"]) for row in rows)
    committed_by = "1" if point in ("committing", "committed") else "3"
    [attempt] = parts.tables.files(sent.pool_id).data.attempts(sent.id)
    assert Path(attempt).name.startswith(f"{sent.id}-{committed_by}-")
