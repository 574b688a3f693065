"""A chunk on its way in: counted, hashed, unpacked, and refused as soon as it is too much."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headrace.arriving import Arrival
from headrace.errors import ChunkUnreadable, TooLarge
from headrace.model import ChunkType, Label
from headrace.quotas import Room
from headrace.unpacking import Packing, packing_of

NARROW = Room(100, TooLarge("more than a job may have"))
WIDE = Room(10_000, TooLarge("more than a chunk may have"))


class Written:
    """Where the bytes go."""

    def __init__(self) -> None:
        self.bytes = b""

    def write(self, data: bytes | memoryview) -> None:
        self.bytes += bytes(data)


def arrival(room: Room = WIDE, unpacked: Room = WIDE, encoding: Packing | None = None) -> Arrival:
    job: Any = None  # nothing is asked of it
    incoming: Any = Written()
    return Arrival("c", job, ChunkType.UPSERT, incoming, room, unpacked, encoding)


def stored(of: Arrival) -> bytes:
    written: Any = of.incoming
    return bytes(written.bytes)


def arrived(data: bytes, cuts: Sequence[int]) -> Arrival:
    """After it has come in pieces, unpacked in between."""
    new = arrival()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        new.write(memoryview(data)[start:end])
        new.unpack()
    new.end()
    return new


PACKERS: dict[Packing | None, Callable[[bytes], bytes]] = {
    None: bytes,
    Packing.GZIP: gzip.compress,
    Packing.ZSTD: zstandard.compress,
}


@given(
    st.binary(max_size=300).filter(lambda data: packing_of(data) is None),
    st.lists(st.integers(0, 1000), max_size=5),
    st.sampled_from(list(PACKERS)),
)
def test_what_comes_in_any_pieces_is_stored_unpacked(
    data: bytes, cuts: list[int], packing: Packing | None
) -> None:
    packed = PACKERS[packing](data)
    found = arrived(packed, cuts)
    assert stored(found) == data
    assert (found.size, found.stored) == (len(packed), len(data))
    assert found.hash.digest() == hashlib.sha256(packed).digest()


def test_too_much_is_refused_before_it_is_written() -> None:
    new = arrival(room=NARROW)
    new.write(b"x" * 100)
    with pytest.raises(TooLarge, match="more than a job"):
        new.write(b"y")
    assert stored(new) == b"x" * 100


def test_a_bomb_is_refused_at_its_limit() -> None:
    new = arrival()
    new.write(gzip.compress(bytes(5_000_000)))
    with pytest.raises(TooLarge, match="more than a chunk"):
        new.unpack()
    assert len(stored(new)) <= 10_000


def test_what_is_encoded_counts_by_what_may_be_unpacked() -> None:
    new = arrival(room=NARROW, encoding=Packing.GZIP)
    new.write(b"x" * 200)
    assert new.size == 200


@pytest.mark.parametrize("cut", [1, 20])
def test_damage_is_told(cut: int) -> None:
    new = arrival()
    new.write(gzip.compress(b"a,b\n1,2\n" * 100)[:-cut])
    with pytest.raises(ChunkUnreadable):
        new.end()


def test_a_name_that_is_wrong_is_noted() -> None:
    plain, packed = arrival(), arrival()
    plain.write(b"a,b\n1,2\n")
    packed.write(gzip.compress(b"a,b\n1,2\n"))
    assert plain.notes(Label(None, packed=True)) == (
        "is called packed by its name, and is not: it is read as it is",
    )
    assert packed.notes(Label(None)) == ("came packed (gzip) and was unpacked",)
