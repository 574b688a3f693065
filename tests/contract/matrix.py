"""Which client was seen to call what with success, by which test: the matrix of docs/compatibility.md.

Requests are recorded while the tests of a client run, so the page can say nothing that was not seen.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.web.paths import normal_path
from headrace.web.routes import ROUTES

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "compatibility.md"

CLIENTS = {
    "test_pycelonis_new": "pycelonis 2.14",
    "test_pycelonis_earlier": "earlier pycelonis 2.x",
    "test_pycelonis_1": "pycelonis 1.x",
    "test_pycelonis_oauth": "pycelonis with OAuth2",
    "test_pycelonis_scripts": "scripts on pycelonis",
    "test_prom": "ProM plug-in (Java)",
    "test_prom_old": "older ProM plug-in (Java)",
    "test_ibc_loader": "IBC_Loader (requests)",
    "test_cloud_scripts": "cloud scripts (requests)",
    "test_large_dataset_flask": "LargeDataset (Flask)",
    "test_fastapi_service": "a FastAPI service (httpx)",
    "test_sap_raw_tables": "SAP-raw-tables (requests)",
    "test_project44": "project44 (axios)",
    "test_content_cli": "content-cli (TypeScript)",
}
"""The file of a client's tests, and what it is called on the page."""

NO_CLIENTS = {
    *("test_answers", "test_around", "test_edges", "test_errors", "test_fields", "test_idempotency"),
    *("test_limits", "test_logs", "test_metrics", "test_names", "test_offers", "test_own_chunks"),
    *("test_own_jobs", "test_packed", "test_traces"),
    *("test_paths", "test_queries", "test_retries", "test_schemas", "test_transport", "test_undo"),
    *("test_uploads", "test_wide"),
}

Seen = set[tuple[str, str, str]]
"""A client, an operation, and the test that saw it succeed."""

_PUSH = "/integration/api/v1/data-push/{pool_id}"


def _label(method: str, path: str) -> str:
    return f"{method} {path.replace(':part', '').replace(_PUSH, '…')}"


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in re.split(r"{\w+:part}", path)))


_OPERATIONS = [(route.method, _pattern(route.path), _label(route.method, route.path)) for route in ROUTES]
LABELS = [label for _, _, label in _OPERATIONS]


def operation(method: str, raw_path: str) -> str | None:
    """The route that answers, as the page calls it."""
    path = normal_path(raw_path)
    return next((label for m, route, label in _OPERATIONS if m == method and route.fullmatch(path)), None)


# -- seeing --------------------------------------------------------------------------------------------


@contextmanager
def recorded(client: str) -> Iterator[Seen]:
    """What succeeds of the client's requests; not those by which a test looks at the outcome."""
    seen: Seen = set()
    send = httpx.Client.send

    def noted(self: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        reply = send(self, request, **more)
        found = operation(request.method, request.url.raw_path.decode())
        if found and reply.status_code < 400 and not _is_ours(self):
            seen.add((client, found, _running_test()))
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "send", noted)
        yield seen


def _is_ours(client: httpx.Client) -> bool:
    """The fixtures' client of the administrator; one that plays a client sends its key or name by itself."""
    return "authorization" in client.headers and client.headers["user-agent"].startswith("python-httpx/")


def _running_test() -> str:
    return re.split(r"\[| \(", os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2])[0]


def tests_of(stem: str) -> set[str]:
    tree = ast.parse((HERE / f"{stem}.py").read_text())
    return {f.name for f in tree.body if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")}


# -- the page ------------------------------------------------------------------------------------------

_HEAD = """# Compatibility

Which client was seen to call what. The rows are made by a run of the tests in `tests/contract/`, which
send what these clients send, byte for byte where that matters, and hold the answers to what they can
read. An operation is here if a request of the client succeeded; the tests behind it say what is compared.
`make matrix` writes this page, and a test that sees something else than is written here fails.

Real pycelonis, which the tests cannot install, was run by hand against version 0.3.0. What no client of
the list calls is in [the API](api.md), how to point clients here on [their pages](clients/index.md). `…`
is `/integration/api/v1/data-push/{pool_id}`, under any of the three bases.
"""


def render(seen: Seen) -> str:
    clients = [name for name in CLIENTS.values() if any(c == name for c, _, _ in seen)]
    labels = [label for label in LABELS if any(o == label for _, o, _ in seen)]
    does = {(client, label) for client, label, _ in seen}
    lines = [_HEAD, "## At a glance", "", _row("", *clients), _row(*["---"] * (len(clients) + 1), space="")]
    lines += [_row(f"`{o}`", *("●" if (c, o) in does else "" for c in clients)) for o in labels]
    for stem, client in CLIENTS.items():
        lines += ["", f"## {client}", "", f"`tests/contract/{stem}.py`", ""]
        lines += ["| operation | seen by |", "|---|---|"]
        lines += [
            _row(
                f"`{label}`",
                " · ".join(_in_words(t) for c, o, t in sorted(seen) if (c, o) == (client, label)),
            )
            for label in labels
            if (client, label) in does
        ]
    return "\n".join(lines) + "\n"


def _row(*cells: str, space: str = " ") -> str:
    return "|" + "|".join(f"{space}{cell}{space}" if cell else " " for cell in cells) + "|"


def _in_words(test: str) -> str:
    return test.removeprefix("test_").replace("_", " ")


def _as_a_name(words: str) -> str:
    return "test_" + words.replace(" ", "_")


def written() -> Seen:
    """What the page says."""
    seen: Seen = set()
    for section in PAGE.read_text().split("\n## ")[2:]:
        client = section.splitlines()[0]
        for line in section.splitlines():
            if found := re.match(r"\| `([^`]*)` \| (.*) \|$", line):
                seen |= {(client, found[1], _as_a_name(words)) for words in found[2].split(" · ")}
    return seen


def compare(stem: str, seen: Seen, run: Iterable[str]) -> None:
    """What was seen of a client against the page: all of it, if all of its tests have run."""
    said = {entry for entry in written() if entry[0] == CLIENTS[stem]}
    assert seen <= said, f"not in docs/compatibility.md, see `make matrix`: {sorted(seen - said)}"
    if set(run) == tests_of(stem):
        assert said <= seen, (
            f"no longer so in docs/compatibility.md, see `make matrix`: {sorted(said - seen)}"
        )
