"""Bodies of uploads, however they are cut on their way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.errors import ChunkUnreadable
from headrace.model import FileType, Label
from headrace.web.multipart import body_of

BOUNDARY = "boundary7"
NAMED = f"multipart/form-data; boundary={BOUNDARY}"
NAMELESS = "multipart/form-data"
FILE = 'form-data; name="file"; filename="data.parquet"'


def part(data: bytes, disposition: str = FILE, type: str | None = None) -> bytes:
    header = f"Content-Disposition: {disposition}\r\n"
    header += f"Content-Type: {type}\r\n" if type else ""
    return header.encode() + b"\r\n" + data


def multipart(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    line = f"--{boundary}".encode()
    return b"".join(line + b"\r\n" + p + b"\r\n" for p in parts) + line + b"--\r\n"


def received(content_type: str, pieces: Iterable[bytes]) -> tuple[bytes, bool]:
    """The chunk, and whether the client calls it CSV."""
    chunk = bytearray()
    body = body_of(content_type, chunk.extend)
    for piece in pieces:
        body.feed(piece)
    body.end()
    return bytes(chunk), body.label.file_type is FileType.CSV


def chunk_of(*parts: bytes, content_type: str = NAMED) -> bytes:
    return received(content_type, [multipart(*parts)])[0]


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    return [data[one:other] for one, other in pairwise(places)]


nasty = st.lists(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b"-", b"--", b"boundary", b"--boundary", b"\r\n--boundary", b"a", b"\0"]
    )
).map(b"".join)
contents = st.one_of(st.binary(max_size=60), nasty).filter(lambda data: BOUNDARY.encode() not in data)
cuts = st.lists(st.integers(0, 500), max_size=12)


@settings(max_examples=150, deadline=None)
@given(contents, cuts, st.sampled_from([NAMED, NAMELESS, f'Multipart/Form-Data; boundary="{BOUNDARY}"']))
@example(b"\r\n--boundary", list(range(400)), NAMED)
@example(b"\r\n--boundary", list(range(400)), NAMELESS)
def test_the_chunk_is_the_same_wherever_the_body_is_cut(data: bytes, places: list[int], kind: str) -> None:
    assert received(kind, split(multipart(part(data)), places)) == (data, False)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), cuts)
def test_a_body_that_is_no_form_is_the_chunk(data: bytes, places: list[int]) -> None:
    for kind in ("", "application/octet-stream", "application/x-parquet", "nonsense/;;"):
        assert received(kind, split(data, places)) == (data, False)


@pytest.mark.parametrize("kind", [NAMED, NAMELESS])
def test_a_body_that_ends_too_early_is_refused(kind: str) -> None:
    body = multipart(part(b"some data"))
    whole = len(body) - len(b"\r\n")  # nothing need follow the last boundary
    assert received(kind, [body[:whole]]) == (b"some data", False)
    for end in range(whole):
        with pytest.raises(ChunkUnreadable):
            received(kind, [body[:end]])


TAKEN = [
    'form-data; name="file"; filename="x"',
    'form-data; name="upload"; filename="x"',
    'form-data; name="upload"; filename=""',
    'form-data; name="file"',
    "form-data; name=chunk",
    "FORM-DATA; NAME=file",
]


@pytest.mark.parametrize("disposition", TAKEN)
def test_the_part_that_is_the_chunk(disposition: str) -> None:
    assert chunk_of(part(b"no", 'form-data; name="type"'), part(b"yes", disposition)) == b"yes"


def test_a_file_name_in_the_spelling_of_rfc_2231() -> None:
    named = part(b"x", "form-data; name=\"upload\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.csv")
    assert received(NAMED, [multipart(named)]) == (b"x", True)


def test_the_first_file_is_the_chunk() -> None:
    assert chunk_of(part(b"one"), part(b"two")) == b"one"
    assert chunk_of(part(b""), part(b"two")) == b""


def test_names_of_headers_have_any_case() -> None:
    assert chunk_of(b"content-DISPOSITION: " + part(b"x").partition(b": ")[2]) == b"x"


def test_a_form_without_a_file_is_refused() -> None:
    for parts in ([], [part(b"x", 'form-data; name="type"')], [b"\r\nno header"]):
        with pytest.raises(ChunkUnreadable):
            chunk_of(*parts)


@pytest.mark.parametrize("rest", [b"", b"\r\n", b"\r\nan epilogue", b"--junk"])
def test_what_follows_the_last_boundary_is_no_matter(rest: bytes) -> None:
    assert received(NAMED, [multipart(part(b"x")).rstrip(), rest]) == (b"x", False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"PAR1....PAR1",
        b"--\r\n" + part(b"x"),
        b"--other\r\n" + part(b"x") + b"\r\n--other--",
        b"--boundary7\r\nno colon\r\n\r\nx\r\n--boundary7--",
        b"--boundary7 and more\r\n" + part(b"x"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(ChunkUnreadable):
        received(NAMED, [body])


@pytest.mark.parametrize(
    "body", [b"", b"PAR1", b"--", b"--\r\n", b"a,b\r\n1,2\r\n", b"--" + b"x" * 300, b"-" * 256]
)
def test_a_boundary_is_named_in_the_first_line_or_nowhere(body: bytes) -> None:
    with pytest.raises(ChunkUnreadable, match="names no boundary"):
        received(NAMELESS, [body])


def test_a_first_line_may_end_as_on_unix() -> None:
    body = multipart(part(b"x"))
    with pytest.raises(ChunkUnreadable):  # the parser is stricter, but it is told what is wrong
        received(NAMELESS, [body.replace(b"\r\n", b"\n")])


CSV: list[tuple[str, bytes, bool]] = [
    (NAMED, multipart(part(b"x", type="text/csv")), True),
    (NAMED, multipart(part(b"x", type="Text/CSV; charset=utf-8")), True),
    (NAMED, multipart(part(b"x", 'form-data; name="file"; filename="a.CSV"')), True),
    (NAMED, multipart(part(b"x", 'form-data; name="file"; filename="a.csv.parquet"')), False),
    (NAMED, multipart(part(b"x", type="application/octet-stream")), False),
    (NAMED, multipart(part(b"no", 'form-data; name="meta"', "text/csv"), part(b"x")), False),
    (NAMED, multipart(part(b"x"), part(b"no", FILE, "text/csv")), False),
    (NAMELESS, multipart(part(b"x", type="text/csv")), True),
    ("text/csv", b"x", True),
    ("TEXT/CSV; charset=utf-8", b"x", True),
    ("application/octet-stream", b"x", False),
]


@pytest.mark.parametrize(("content_type", "body", "says_csv"), CSV)
def test_who_calls_it_csv(content_type: str, body: bytes, says_csv: bool) -> None:
    assert received(content_type, [body]) == (b"x", says_csv)
    assert received(content_type, split(body, list(range(len(body))))) == (b"x", says_csv)


def test_a_form_that_has_not_begun_says_nothing() -> None:
    assert body_of(NAMELESS, bytes).label == Label()


LABELS = [
    ('filename="a.csv.gz"', None, Label(FileType.CSV, packed=True)),
    ('filename="a.Parquet.ZST"', None, Label(FileType.PARQUET, packed=True)),
    ("filename=a.ndjson", "application/octet-stream", Label(FileType.NDJSON)),
    ('filename="a.b.jsonl.zstd"', "text/plain", Label(FileType.NDJSON, packed=True)),
    ('filename="a.arrow" ', None, Label(FileType.ARROW)),
    ("filename*=UTF-8''a%20b.feather", None, Label(FileType.ARROW)),
    ('filename="a.gz"', None, Label(None, packed=True)),
    ('filename="a.gz.txt"', None, Label()),
    ('filename="csv"', None, Label()),
    ('filename="a"', "application/vnd.apache.parquet", Label(FileType.PARQUET)),
    ('filename="a.parquet"', "application/x-ndjson", Label(FileType.PARQUET)),
    ('filename="a.parquet"', "text/csv", Label(FileType.CSV)),
    ('filename="a"', "application/vnd.apache.arrow.file", Label(FileType.ARROW)),
]


@pytest.mark.parametrize(("name", "type", "label"), LABELS)
def test_what_a_client_calls_a_chunk(name: str, type: str | None, label: Label) -> None:
    body = body_of(NAMED, bytes)
    body.feed(multipart(part(b"x", f'form-data; name="file"; {name}', type)))
    assert body.label == label


def test_what_a_client_calls_bytes_without_a_form() -> None:
    types = ["text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream", "application/json"]
    kinds = [FileType.CSV, FileType.NDJSON, FileType.ARROW, None]
    assert [body_of(type, bytes).label.file_type for type in types] == kinds


def test_what_writes_may_refuse() -> None:
    def full(_: memoryview) -> None:
        raise OSError("no room")

    for kind in (NAMED, NAMELESS, "text/csv"):
        with pytest.raises(OSError, match="no room"):
            body_of(kind, full).feed(multipart(part(b"x")))
