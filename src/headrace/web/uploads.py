"""Handlers of resumable uploads: the protocol tus 1.0, whose words are headers.

https://tus.io/protocols/resumable-upload, with creation, creation-with-upload, checksum, expiration and
termination.
"""

from __future__ import annotations

import base64
import binascii
import re
from email.utils import format_datetime
from functools import partial
from typing import Annotated
from urllib.parse import quote

from anyio import CancelScope, to_thread
from fastapi import Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import InvalidRequest, UnknownTus, WrongMediaType
from headrace.model import NO_LABEL, ChunkType, Key, Label, Upload, now
from headrace.uploads import ALGORITHMS, Checksum, Part
from headrace.web.context import Asking, IdempotencyKey, Services, Use
from headrace.web.multipart import label_of
from headrace.web.noting import Note
from headrace.web.receiving import UNPACKING

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
MEDIA_TYPE = "application/offset+octet-stream"

_LONGEST_METADATA = 4096
_PATH = re.compile(r"/api/v1/pools/[^/]+/jobs/[^/]+/uploads(/[^/]+)?")
_OVERRIDES = ("PATCH", "DELETE", "HEAD")


def is_of_uploads(path: str) -> bool:
    return _PATH.fullmatch(path) is not None


def spoken(
    tus_resumable: Annotated[str | None, Header(description="1.0.0", examples=[VERSION])] = None,
) -> None:
    """Every request but OPTIONS says the version. Raises UnknownTus."""
    if tus_resumable != VERSION:
        raise UnknownTus


Bytes = Annotated[int | None, Header(ge=0, le=2**62)]
Sum = Annotated[
    str | None, Header(description=f"of the part: one of {', '.join(ALGORITHMS)}, a space, its base64")
]


def uploads_options(pool_id: str, job_id: str, use: Use) -> Response:
    """What of the protocol is spoken here."""
    use.pushes.get(pool_id, job_id)
    said = {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(use.uploads.most_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=said)


async def create_upload(
    pool_id: str,
    job_id: str,
    request: Request,
    use: Use,
    key: Asking,
    upload_length: Bytes = None,
    upload_metadata: Annotated[
        str | None,
        Header(description="pairs of a name and a base64: type (upsert, delete), filename, filetype"),
    ] = None,
    upload_checksum: Sum = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Begin an upload; with a body (creation-with-upload) its first part comes along."""
    if upload_length is None:
        raise InvalidRequest("Upload-Length says how many bytes will come.", attribute="Upload-Length")
    text = upload_metadata or ""
    type, label = _told(text)
    wish = Upload(
        "", job_id, pool_id, key.id, upload_length, type, now(), label, text, idempotency_key=idempotency_key
    )
    brings_some = "content-type" in request.headers and _has_body(request)
    if brings_some:
        _refuse_type(request)
    checksum = _checksum(upload_checksum)
    upload, is_new = await to_thread.run_sync(use.uploads.create, wish, limiter=UNPACKING)
    offset = None
    if brings_some:
        first = _first_part(request, use, key, upload, checksum) if is_new else _so_far(use, key, upload)
        offset = await first
    place = f"/api/v1/pools/{quote(pool_id, safe='')}/jobs/{quote(job_id, safe='')}/uploads/{upload.id}"
    return _answer(use, upload, offset, 201, {"Location": place})


async def _first_part(
    request: Request, use: Services, key: Key, upload: Upload, checksum: Checksum | None
) -> int:
    """If it fails nobody hears where the upload is: it goes."""
    place = upload.pool_id, upload.job_id, upload.id
    try:
        return (await _receive(request, use, key, place, 0, checksum))[1]
    except BaseException:
        with CancelScope(shield=True):
            await run_in_threadpool(use.uploads.abandon, upload)
        raise


async def _so_far(use: Services, key: Key, upload: Upload) -> int:
    """Of an upload that was created before, under the same idempotency key; its part is not read."""
    found = await run_in_threadpool(use.uploads.find, upload.pool_id, upload.job_id, upload.id, key)
    return found[1]


def find_upload(pool_id: str, job_id: str, upload_id: str, use: Use, key: Asking, note: Note) -> Response:
    """How much has come; all of it only if it is a chunk."""
    upload, offset = use.uploads.find(pool_id, job_id, upload_id, key)
    note.changes = upload.finished_at is None and offset == upload.length  # it became one just now
    said = {"Upload-Length": str(upload.length)}
    if upload.metadata:
        said["Upload-Metadata"] = upload.metadata
    return _answer(use, upload, offset, 200, said)


async def patch_upload(
    pool_id: str,
    job_id: str,
    upload_id: str,
    request: Request,
    use: Use,
    key: Asking,
    upload_offset: Bytes = None,
    upload_checksum: Sum = None,
) -> Response:
    """The next part; after the last one the upload is a chunk of the job, of the same id."""
    _refuse_type(request)
    if upload_offset is None:
        raise InvalidRequest("Upload-Offset says where the part belongs.", attribute="Upload-Offset")
    place = pool_id, job_id, upload_id
    upload, offset = await _receive(request, use, key, place, upload_offset, _checksum(upload_checksum))
    return _answer(use, upload, offset, 204, {})


def end_upload(pool_id: str, job_id: str, upload_id: str, use: Use, key: Asking) -> Response:
    """Forget an upload that is not finished, with all that has come of it."""
    use.uploads.end(pool_id, job_id, upload_id, key)
    return Response(status_code=204)


async def _receive(
    request: Request,
    use: Services,
    key: Key,
    place: tuple[str, str, str],
    offset: int,
    checksum: Checksum | None,
) -> tuple[Upload, int]:
    """As chunks are received: written at once, in this thread."""
    said = request.headers.get("content-length")
    length = int(said) if said else None
    begin = partial(use.uploads.begin_part, *place, key, offset=offset, length=length, checksum=checksum)
    part = await run_in_threadpool(begin)
    try:
        await _read(request, part)
    except BaseException as error:
        with CancelScope(shield=True):
            await run_in_threadpool(use.uploads.break_off, part, error)
        raise
    return part.upload, await to_thread.run_sync(use.uploads.end_part, part, limiter=UNPACKING)


async def _read(request: Request, part: Part) -> None:
    try:
        async for data in request.stream():
            if data:
                part.write(data)
    except ClientDisconnect as error:
        raise InvalidRequest("The client went away in the middle of the part.") from error


def _answer(use: Services, upload: Upload, offset: int | None, status: int, said: dict[str, str]) -> Response:
    headers = {**said}
    if offset is not None:
        headers["Upload-Offset"] = str(offset)
    if offset != upload.length:
        headers["Upload-Expires"] = format_datetime(use.uploads.expires(upload), usegmt=True)
    return Response(status_code=status, headers=headers)


# -- headers -------------------------------------------------------------------------------------------


def _refuse_type(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise WrongMediaType
    if request.headers.get("content-encoding", "identity") != "identity":
        raise WrongMediaType("A part is not packed: offsets are those of the bytes as they are sent.")


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _checksum(header: str | None) -> Checksum | None:
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise InvalidRequest(
            f"The checksum of a part is one of {', '.join(ALGORITHMS)}.", attribute="Upload-Checksum"
        )
    return Checksum(algorithm, _decoded(encoded, "Upload-Checksum"))


def _told(metadata: str) -> tuple[ChunkType, Label]:
    """What the client says of the chunk: its kind, and what it calls the file."""
    if len(metadata) > _LONGEST_METADATA:
        raise InvalidRequest(
            f"Upload-Metadata may have {_LONGEST_METADATA} characters.", attribute="Upload-Metadata"
        )
    pairs = (pair.strip().partition(" ") for pair in metadata.split(",") if pair.strip())
    told = {name: _decoded(value, "Upload-Metadata") for name, _, value in pairs}
    type = told.get("type", b"upsert").decode("latin-1").upper()
    if type not in list(ChunkType):
        raise InvalidRequest("The type of an upload is upsert or delete.", attribute="Upload-Metadata")
    name, media_type = told.get("filename", b""), told.get("filetype", b"")
    return ChunkType(type), label_of(name, media_type) if name or media_type else NO_LABEL


def _decoded(encoded: str, header: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{header} has what is no base64.", attribute=header) from error


class Resumable:
    """ASGI: every answer to an upload says the version, and a POST may stand for what a client can't send."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_of_uploads(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Tus-Resumable"] = VERSION
                if message["status"] == UnknownTus.status:
                    headers["Tus-Version"] = VERSION
            await send(message)

        _override_method(scope)
        await self._app(scope, receive, versioned)


def _override_method(scope: Scope) -> None:
    """By X-HTTP-Method-Override, which the protocol asks of a server; who tells of the request sees it."""
    meant = dict(scope["headers"]).get(b"x-http-method-override", b"").decode("latin-1").upper()
    if scope["method"] == "POST" and meant in _OVERRIDES:
        scope["method"] = meant
