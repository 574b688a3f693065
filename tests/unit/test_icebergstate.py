"""Names and notes of Iceberg tables, without Spark."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model import INTEGER, STRING, Column, TableRef, decimal
from headrace.tables.icebergstate import (
    ROW,
    UNDO,
    UPKEEP,
    Entry,
    Shape,
    State,
    plain,
    plain_table,
    read_state,
    written_state,
)

AT = datetime(2024, 2, 29, 12, tzinfo=UTC)
ONE = Shape((Column("k", INTEGER), Column("n ä", STRING, 80)), ("k",))
TWO = Shape((*ONE.columns, Column("d", decimal(12, 4))), ())


def entry(version: int, job: str | None, what: str, snapshot: int | None, *, anew: bool = False) -> Entry:
    return Entry(version, AT.isoformat(), job, what, snapshot, 0, None, added=1, rows=1, anew=anew)


@given(st.text(min_size=1, max_size=150), st.text(min_size=1, max_size=150))
def test_no_two_names_are_spelled_alike(one: str, other: str) -> None:
    assert (plain(one) == plain(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("BUKRS", "BUKRS"),
        ("a b", "a_x20_b"),
        ("a.b", "a_x2e_b"),
        ("_x20_", "_x5f_x20_"),
        ("1st", "_x31_st"),
        ("_file", "_x5f_file"),
        ("_CELONIS_CHANGE_DATE", "_CELONIS_CHANGE_DATE"),
        ("é", "_xe9_"),
    ],
)
def test_a_name_has_letters_digits_and_underscores_alone(name: str, spelled: str) -> None:
    assert plain(name) == spelled


def test_names_of_ours_are_nobody_elses() -> None:
    assert plain(ROW) != ROW


def test_a_long_name_fits_into_a_folder() -> None:
    longest = TableRef("ä" * 500, "c" * 500)
    assert len(plain_table(longest)) < 255


@given(st.text(min_size=1, max_size=150), st.none() | st.uuids().map(str))
def test_a_table_has_small_letters_alone(name: str, connection: str | None) -> None:
    """S3 Tables and others take no capital."""
    assert re.fullmatch("[a-z0-9_]+", plain_table(TableRef(name, connection)))


def test_a_table_is_found_however_its_name_is_spelled() -> None:
    assert plain_table(TableRef("Orders É")) == plain_table(TableRef("orders é"))
    assert plain_table(TableRef("orders")) != plain_table(TableRef("orders", "c"))


def test_a_note_is_read_as_it_was_written() -> None:
    state = State('a "é"', "connection-1", loads=2)
    state = state.with_entry(entry(1, "job-1", "REPLACE", 11, anew=True), ONE)
    state = state.with_entry(entry(2, "job-2", "DELTA", 12), TWO)
    assert read_state(written_state(state)) == state


def test_versions_are_those_in_which_the_table_changed() -> None:
    state = State("t", None).with_entry(entry(1, "job-1", "REPLACE", 11, anew=True), ONE)
    state = state.with_entry(entry(2, "job-2", "DELTA", 11), ONE)  # nothing came of it
    state = state.with_entry(entry(3, "job-3", "DELTA", 12), ONE)
    state = state.with_entry(entry(4, "job-3", UNDO, 11), ONE)
    state = state.with_entry(entry(5, "job-1", UNDO, None), None)
    found = [(v.version, v.job_id, v.undo, v.gone) for v in state.versions()]
    assert found == [
        (5, "job-1", True, True),
        (4, "job-3", True, False),
        (3, "job-3", False, False),
        (1, "job-1", False, False),
    ]


def test_what_others_do_to_the_files_is_a_version_of_nobodys_job() -> None:
    state = State("t", None).with_entry(entry(1, "job-1", "REPLACE", 11, anew=True), ONE)
    assert state.following(11, 0, 1, AT) is state
    followed = state.following(12, 0, 1, AT)
    assert followed.now and (followed.now.what, followed.now.job, followed.now.snapshot) == (UPKEEP, None, 12)
    assert followed.shape(followed.now) == ONE


def test_a_table_that_is_gone_stays_so_whatever_its_files_are() -> None:
    state = State("t", None).with_entry(entry(1, "job-1", UNDO, None), None)
    assert state.following(12, 0, 1, AT) is state
    assert state.table() is None
