"""Which fault happens to what, and how often."""

from __future__ import annotations

from headrace.faults import Fault, FaultKind, Faults

ANSWER, JOB = FaultKind.ANSWER, FaultKind.JOB_ERROR


def test_the_first_that_meets_happens() -> None:
    faults = Faults()
    first = faults.add(Fault(ANSWER, path="*/chunks/*", left=2))
    second = faults.add(Fault(ANSWER, method="post", left=None))
    assert faults.of_request("GET", "/a") is None
    assert [faults.of_request("POST", "/a/chunks/b") for _ in range(3)] == [
        first,
        Fault(**{**vars(first), "left": 1}),
        second,
    ]
    assert faults.all() == [second]
    faults.clear()
    assert faults.all() == []


def test_one_that_still_waits_lets_the_next_happen() -> None:
    faults = Faults()
    faults.add(Fault(ANSWER, skip=1, status=500))
    faults.add(Fault(ANSWER, status=503))
    happened = [faults.of_request("GET", "/") for _ in range(3)]
    assert [fault and fault.status for fault in happened] == [503, 500, None]


def test_jobs_and_requests_do_not_mix() -> None:
    faults = Faults()
    fault = faults.add(Fault(JOB, table="Ord*"))
    assert faults.of_request("GET", "/") is None
    assert faults.of_load(["customers"]) is None
    assert faults.of_load(["customers", "orders"]) == fault
    assert faults.of_load(["orders"]) is None
    faults.add(Fault(ANSWER))
    assert faults.of_load(["orders"]) is None
