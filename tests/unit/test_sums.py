"""Checksums of a lake's files: what is noted is compared, what is torn or not known is noted anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.durable import checksum
from headrace.errors import TableDamaged
from headrace.tables.sums import NAME, Sums


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "pool" / "data"
    (folder / "main" / "t").mkdir(parents=True)
    return folder


def made(data: Path, name: str, content: bytes = b"rows") -> Path:
    file = data / "main" / "t" / name
    file.write_bytes(content)
    return file


def damage(file: Path) -> None:
    """Its size stays, its time does not."""
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    os.utime(file, (1, 1))


def test_a_file_as_it_was_passes_and_a_changed_one_is_named(data: Path) -> None:
    files = [made(data, name) for name in ("a", "b")]
    sums = Sums(data)
    sums.note(files)
    sums.check(files)
    damage(files[1])
    sums.check(files[:1])
    for fresh in (sums, Sums(data)):
        with pytest.raises(TableDamaged, match="main/t/b"):
            fresh.check(files)


def test_one_that_was_compared_is_read_again_when_it_looks_changed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = made(data, "a"), []
    Sums(data).note([file])
    sums = Sums(data)
    monkeypatch.setattr("headrace.tables.sums.checksum", lambda path: read.append(path) or checksum(path))
    sums.check([file])
    sums.check([file])
    assert read == [file]
    os.utime(file, (2, 2))
    sums.check([file])
    assert read == [file, file]


def test_a_sum_that_is_known_is_not_taken(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(data, "a")
    known = checksum(file)
    monkeypatch.delattr("headrace.tables.sums.checksum")
    sums = Sums(data)
    sums.expect(file, known)
    sums.note([file])
    assert f"{known:08x} main/t/a" in (data.parent / NAME).read_text()


def test_what_was_expected_of_a_try_that_is_gone_is_forgotten(data: Path) -> None:
    file = made(data, "a")
    sums = Sums(data)
    sums.expect(file, 0)
    sums.forget_expected(file.parent)
    sums.note([file])
    Sums(data).check([file])


def test_an_unknown_file_is_noted_when_it_is_first_seen(data: Path) -> None:
    file = made(data, "a")
    Sums(data).check([file])
    damage(file)
    with pytest.raises(TableDamaged):
        Sums(data).check([file])


def test_a_file_that_is_not_there_is_no_matter_of_sums(data: Path) -> None:
    Sums(data).check([data / "nothing"])


@pytest.mark.parametrize("cut", range(2, 24))
def test_what_a_crash_left_of_a_line_is_not_known_and_spoils_no_other(data: Path, cut: int) -> None:
    first, second = made(data, "a"), made(data, "b")
    Sums(data).note([first])
    noted = data.parent / NAME
    noted.write_bytes(noted.read_bytes()[:-cut])
    Sums(data).note([second])
    damage(first)
    Sums(data).check([first])  # as if it had been so from the beginning
    damage(second)
    with pytest.raises(TableDamaged):
        Sums(data).check([second])


def test_a_line_whose_own_bits_turned_over_is_not_known(data: Path) -> None:
    file = made(data, "a")
    Sums(data).note([file])
    noted = data.parent / NAME
    lines = bytearray(noted.read_bytes())
    lines[14] ^= 1
    noted.write_bytes(lines)
    Sums(data).check([file])


def test_what_another_process_notes_is_known_here(data: Path) -> None:
    here, there = Sums(data), Sums(data)
    old, new = made(data, "a"), made(data, "b")
    here.note([old])
    here.check([old])
    there.note([new])
    damage(new)
    with pytest.raises(TableDamaged):
        here.check([new])


def test_files_that_are_gone_are_forgotten_by_all(data: Path) -> None:
    here, there = Sums(data), Sums(data)
    kept, gone = made(data, "a"), made(data, "b", b"other rows")
    here.note([kept, gone])
    there.check([kept, gone])
    here.keep_only([kept])
    assert (data.parent / NAME).read_text().count("\n") == 1
    here.keep_only([kept])
    damage(kept)
    damage(gone)
    for sums in (here, there, Sums(data)):
        with pytest.raises(TableDamaged, match="main/t/a"):
            sums.check([kept])
    Sums(data).check([gone])


def test_names_may_be_any(data: Path) -> None:
    files = [made(data, name) for name in ("a b", "naïve", "x\ny", os.fsdecode(b"\xff"))]
    Sums(data).note(files)
    Sums(data).check(files)
