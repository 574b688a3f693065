"""The trail: in batches, in order, nothing lost in silence, and a flood of refusals is a few rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from structlog.testing import capture_logs

from harness import wait_for
from headrace import trail as trail_module
from headrace.metadata import Metadata
from headrace.metadata.audit import Audit, AuditFilter
from headrace.model import AuditEntry, Key, KeyKind, Permission, now
from headrace.trail import STARTED, STOPPED, Trail


@pytest.fixture
def metadata(database: Path | str) -> Iterator[Metadata]:
    opened = Metadata(database)
    yield opened
    opened.close()


@pytest.fixture
def trail(metadata: Metadata) -> Iterator[Trail]:
    started = Trail(metadata, days=1)
    started.start()
    yield started
    started.close()


def entry(action: str, status: int = 200, actor: str | None = "k", **more: str) -> AuditEntry:
    return AuditEntry(now(), actor, actor, "192.0.2.1", action, status, "request", **more)


def book(metadata: Metadata) -> Sequence[AuditEntry]:
    """The oldest first."""
    return [*reversed(metadata.audit.page(AuditFilter(), before=None, limit=1000))]


def actions(metadata: Metadata) -> list[str]:
    return [e.action for e in book(metadata)]


def test_who_waits_finds_it_on_the_disk(trail: Trail, metadata: Metadata) -> None:
    for number in range(3):
        trail.note(entry(f"push-{number}"))
    trail.note(entry("create-key"), hurry=True)()
    assert actions(metadata) == [STARTED, "push-0", "push-1", "push-2", "create-key"]


def test_who_does_not_wait_finds_it_a_moment_later(trail: Trail, metadata: Metadata) -> None:
    trail.note(entry("push"))
    wait_for(lambda: "push" in actions(metadata))


def test_what_is_left_is_written_at_the_end(metadata: Metadata) -> None:
    trail = Trail(metadata, days=1)
    trail.start()
    trail.note(entry("push"))
    trail.close()
    trail.close()
    assert actions(metadata) == [STARTED, "push", STOPPED]


def test_many_threads_write_each_entry_once(trail: Trail, metadata: Metadata) -> None:
    def work(thread: int) -> None:
        for number in range(20):
            wait = trail.note(entry(f"{thread}-{number}"), hurry=number % 5 == 4)
            if number % 5 == 4:
                wait()

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {f"{thread}-{number}" for thread in range(4) for number in range(20)}
    written = actions(metadata)[1:]
    assert len(written) == 80
    assert set(written) == expected


def test_a_flood_of_refusals_is_counted(trail: Trail, metadata: Metadata) -> None:
    for number in range(500):
        trail.note(entry("get-job", 401, None, code="unauthorized", pool_id=f"made up {number}"))
        trail.note(entry("get-job", 403, code="forbidden", pool_id=f"pool {number % 3}"))
    trail.note(entry("create-key"), hurry=True)()
    refused = [e for e in book(metadata) if e.status in (401, 403)]
    assert len(refused) <= 12, "a few batches"
    assert sum(e.times for e in refused if e.status == 401) == 500
    assert sum(e.times for e in refused if e.status == 403) == 500
    assert {e.pool_id for e in refused if e.status == 403} == {"pool 0", "pool 1", "pool 2"}


def test_what_succeeded_is_never_counted_together(trail: Trail, metadata: Metadata) -> None:
    for _ in range(5):
        trail.note(entry("push"))
    trail.note(entry("create-key"), hurry=True)()
    assert actions(metadata).count("push") == 5


def test_what_cannot_be_written_is_tried_again(
    trail: Trail, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail.note(entry("first"), hurry=True)()
    failures = []

    def full(self: Audit, entries: Sequence[AuditEntry], keep: timedelta) -> None:
        failures.append(len(entries))
        raise OSError("the disk is full")

    with monkeypatch.context() as broken, capture_logs() as logs:
        broken.setattr(Audit, "add", full)
        trail.note(entry("second"), hurry=True)
        trail.note(entry("third", 403))
        wait_for(lambda: len(failures) > 1)
    trail.note(entry("fourth"), hurry=True)()
    assert actions(metadata) == [STARTED, "first", "second", "third", "fourth"]
    assert "the audit cannot be written" in {line["event"] for line in logs}


def test_what_can_never_be_written_goes_to_the_log(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = Trail(metadata, days=1)
    trail.start()
    wait_for(lambda: actions(metadata))
    monkeypatch.setattr(Audit, "add", lambda *_: 1 / 0)
    monkeypatch.setattr(trail_module, "WAIT_S", 0.1)
    with capture_logs() as logs:
        trail.note(entry("push", pool_id="p"), hurry=True)()
        trail.close()
    lost = [line for line in logs if line["event"] == "not in the audit"]
    assert [(line["action"], line.get("pool_id")) for line in lost] == [("push", "p"), (STOPPED, None)]
    assert all(json.dumps(line) for line in lost)
    assert any("before its entry" in line["event"] for line in logs)


def test_when_a_key_was_used_is_noted_once_a_minute(
    trail: Trail, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Key("k", "a key", KeyKind.APPLICATION, "hr_app_", frozenset(Permission), None, now())
    metadata.keys.add(key, "hash")
    writes = []
    used = metadata.keys.used
    monkeypatch.setattr(metadata.keys, "used", lambda last: (writes.append(dict(last)), used(last)))
    for _ in range(100):
        trail.used(key)
        trail.note(entry("push"))
    trail.note(entry("create-key"), hurry=True)()
    wait_for(lambda: writes)
    trail.note(entry("create-key"), hurry=True)()
    assert len(writes) == 1
    found = metadata.keys.get("k")
    assert found is not None
    assert found.last_used_at == writes[0]["k"]
    Trail(metadata, days=1).used(found)  # another process reads it in the row


def test_old_entries_go(metadata: Metadata) -> None:
    metadata.audit.add([entry("old")], timedelta(days=-1))
    trail = Trail(metadata, days=1)
    trail.start()
    wait_for(lambda: actions(metadata) == [STARTED])
    trail.close()
