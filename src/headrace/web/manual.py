"""The manual: static files that were built into the package, without a key, for they hold no secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response

from headrace.errors import NotFound

FOLDER = Path(__file__).parents[1] / "help"
POLICY = (
    b"default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_FIRST = "index.html"
_NOT_BUILT = "The manual is not built here. In a checkout of the source `make docs` builds it."


def pages(folder: Path) -> tuple[Callable[[], Response], Callable[[str], Response]]:
    """Two handlers: the way to the first page, and a file by its path.

    The files that are there at the start are all there is: whatever a path says, no other can be meant.
    """
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}

    def help_index() -> Response:
        if _FIRST not in files:
            return PlainTextResponse(_NOT_BUILT, status_code=404)
        return RedirectResponse(f"/help/{_FIRST}")  # links of a page are relative to its folder

    def help_file(path: str) -> Response:
        if path not in files:
            raise NotFound
        return FileResponse(files[path])

    return help_index, help_file
