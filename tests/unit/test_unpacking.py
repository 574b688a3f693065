"""Packed streams, however they are cut on their way."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.unpacking import LARGEST_WINDOW, BadPacking, Packing, Unpacker, packing_of

PACK = {Packing.GZIP: gzip.compress, Packing.ZSTD: zstandard.ZstdCompressor(write_checksum=True).compress}
packings = st.sampled_from(list(Packing))
contents = st.lists(
    st.one_of(st.binary(max_size=80), st.binary(max_size=8).map(lambda b: b * 900)), max_size=4
)
cuts = st.lists(st.integers(0, 5000), max_size=8)


def unpacked(data: bytes, places: list[int]) -> bytes:
    packing = packing_of(data)
    assert packing is not None
    unpacker = Unpacker(packing)
    ends = sorted({0, *(cut % (len(data) + 1) for cut in places), len(data)})
    found = b"".join(piece for one, other in pairwise(ends) for piece in unpacker.feed(data[one:other]))
    unpacker.end()
    return found


@settings(max_examples=150)
@given(packings, contents, st.binary(max_size=50), cuts)
def test_members_and_frames_wherever_they_are_cut(
    packing: Packing, parts: list[bytes], last: bytes, places: list[int]
) -> None:
    pack = PACK[packing]
    assert unpacked(b"".join(map(pack, [*parts, last])), places) == b"".join([*parts, last])


@settings(max_examples=150)
@given(packings, st.binary(min_size=1, max_size=2000), st.data())
def test_what_is_cut_or_spoiled_is_never_taken_for_whole(
    packing: Packing, data: bytes, draw: st.DataObject
) -> None:
    whole = PACK[packing](data)
    cut = draw.draw(st.integers(4, len(whole) - 1))
    with pytest.raises(BadPacking, match="breaks off after"):
        unpacked(whole[:cut], [7])
    at = draw.draw(st.integers(4, len(whole) - 1))
    spoiled = whole[:at] + bytes([whole[at] ^ draw.draw(st.integers(1, 255))]) + whole[at + 1 :]
    try:
        assert unpacked(spoiled, [11]) == data  # a byte without a meaning, such as the time of a gzip file
    except BadPacking as error:
        assert "breaks off after" in str(error) or "damaged behind its byte" in str(error)


@pytest.mark.parametrize("packing", list(Packing))
def test_a_slice_has_a_bounded_size(packing: Packing) -> None:
    """100 MB that come in one piece."""
    packed = PACK[packing](bytes(100 << 20))
    sizes = [len(piece) for piece in Unpacker(packing).feed(packed)]
    assert (sum(sizes), max(sizes) <= 16 << 20) == (100 << 20, True)


def test_zeros_behind_a_gzip_file_are_no_damage() -> None:
    assert unpacked(gzip.compress(b"a") + b"\0" * 40_000, [20, 30_000]) == b"a"
    with pytest.raises(BadPacking, match="behind its byte 32768"):
        unpacked(gzip.compress(b"a") + b"\0" * 40_000 + b"more", [])


def test_the_end_of_zlibs_input_within_a_slice() -> None:
    """Where the end of a member comes while its output is still asked for in slices."""
    deflating = zlib.compressobj(wbits=31)
    data = bytes(5 << 20)
    packed = deflating.compress(data) + deflating.flush()
    assert unpacked(packed * 2, []) == data * 2


def test_a_window_above_the_limit_is_refused() -> None:
    def packed(window_log: int) -> bytes:
        wide = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
        packing = zstandard.ZstdCompressor(compression_params=wide).compressobj()
        return packing.compress(b"a") + packing.flush()

    largest = LARGEST_WINDOW.bit_length() - 1
    assert unpacked(packed(largest), []) == b"a"
    with pytest.raises(BadPacking, match="too much memory"):
        unpacked(packed(largest + 1), [])


@pytest.mark.parametrize("head", [b"", b"\x1f", b"a,b\n", b"PAR1", b"\x1f\x8c\x08\0", b"(\xb5/\xfc"])
def test_what_is_not_packed(head: bytes) -> None:
    assert packing_of(head) is None
