"""Frozen words to JSON columns and back, checked on the way in."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from headrace.model import Counts, PushSpec, StageReport

_SPEC = TypeAdapter(PushSpec)
_REPORT = TypeAdapter(StageReport)
_COUNTS = TypeAdapter(Counts)


def dump_spec(spec: PushSpec) -> Any:
    return _SPEC.dump_python(spec, mode="json")


def read_spec(value: Any) -> PushSpec:
    return _SPEC.validate_python(value)


def dump_report(report: StageReport) -> Any:
    return _REPORT.dump_python(report, mode="json")


def read_report(value: Any) -> StageReport | None:
    return _REPORT.validate_python(value) if value is not None else None


def dump_counts(counts: Counts) -> Any:
    return _COUNTS.dump_python(counts, mode="json")


def read_counts(value: Any) -> Counts | None:
    return _COUNTS.validate_python(value) if value is not None else None
