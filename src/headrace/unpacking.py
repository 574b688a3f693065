"""What comes packed, unpacked while it arrives: gzip and zstd.

A few bytes may stand for gigabytes. Whatever they stand for, never more than a slice of it is in memory: the
unpacker is fed by so little, or asked for so little, that no step of it yields more.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

from zstandard import ZstdDecompressor, ZstdError

MAGIC_BYTES = 4
"""So much of a file tells how it is packed."""

LARGEST_WINDOW = 32 << 20
"""How far back a zstd stream may refer, and so what its unpacking takes in memory."""

_GZIP_STEP = 16 << 10
_GZIP_SLICE = 1 << 20
_ZSTD_STEP = 512
"""Four bytes may stand for a block of 128 KB, so that a step yields 16 MB at most."""


class Packing(StrEnum):
    GZIP = "gzip"
    ZSTD = "zstd"


_MAGIC = {
    Packing.GZIP: re.compile(rb"\x1f\x8b"),
    Packing.ZSTD: re.compile(rb"(\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)"),  # or a frame to skip
}


def packing_of(head: bytes) -> Packing | None:
    """How a file that begins so is packed, if it is."""
    return next((packing for packing, magic in _MAGIC.items() if magic.match(head)), None)


class BadPacking(ValueError):
    """The packed bytes are damaged or end too early; the message is for people and says where."""


class _Frame(Protocol):
    """A member of a gzip file, or a frame of zstd."""

    @property
    def ended(self) -> bool: ...

    def take(self, data: bytes) -> Iterator[bytes]:
        """The unpacked bytes of so much of it."""

    def rest(self) -> bytes:
        """What was taken and stands behind its end."""


class _Member:
    def __init__(self) -> None:
        self._inflating = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def ended(self) -> bool:
        return self._inflating.eof

    def take(self, data: bytes) -> Iterator[bytes]:
        while data and not self.ended:  # at its end the tail may be set, too
            yield self._inflating.decompress(data, _GZIP_SLICE)
            data = self._inflating.unconsumed_tail

    def rest(self) -> bytes:
        return self._inflating.unused_data


class _ZstdFrame:
    def __init__(self, decompressor: ZstdDecompressor) -> None:
        self._frame = decompressor.decompressobj()

    @property
    def ended(self) -> bool:
        return self._frame.eof

    def take(self, data: bytes) -> Iterator[bytes]:
        yield self._frame.decompress(data)

    def rest(self) -> bytes:
        return self._frame.unused_data


class Unpacker:
    """Takes packed bytes as they come; a file may consist of several members or frames."""

    def __init__(self, packing: Packing) -> None:
        self.packing = packing
        self._taken = 0
        self._zstd = ZstdDecompressor(max_window_size=LARGEST_WINDOW)
        self._frame: _Frame | None = None

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """The unpacked bytes in slices of bounded size. Raises BadPacking."""
        step = _GZIP_STEP if self.packing is Packing.GZIP else _ZSTD_STEP
        for at in range(0, len(data), step):
            piece = bytes(data[at : at + step])
            try:
                yield from self._unpacked(piece)
            except (zlib.error, ZstdError) as error:
                reason = str(error).rpartition(": ")[2]
                raise BadPacking(
                    f"The {self.packing} stream is damaged behind its byte {self._taken}: {reason}."
                ) from error
            self._taken += len(piece)

    def end(self) -> None:
        """Raises BadPacking when there should be more."""
        if self._frame is None or not self._frame.ended:
            raise BadPacking(f"The {self.packing} stream breaks off after {self._taken} bytes.")

    def _unpacked(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            if self._frame is None or self._frame.ended:
                piece = self._without_padding(piece)
                if not piece:
                    return
                self._frame = _Member() if self.packing is Packing.GZIP else _ZstdFrame(self._zstd)
            yield from self._frame.take(piece)
            piece = self._frame.rest()

    def _without_padding(self, piece: bytes) -> bytes:
        """Tapes filled the last block of a gzip file with zeros, and all its tools overlook them."""
        return piece.lstrip(b"\0") if self._frame and self.packing is Packing.GZIP else piece
