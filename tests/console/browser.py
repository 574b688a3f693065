"""A real Chromium for the tests of the console, and what every page is held to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Response, expect

AXE = (Path(__file__).parent / "vendored" / "axe-4.14.1.min.js").read_text()
HEAVIEST = 200_000
"""Bytes of a page with all of its files, as they go over the wire."""

NARROW = {"width": 400, "height": 800}
WIDE = {"width": 1280, "height": 800}
_PATIENCE_MS = 20_000
expect.set_options(timeout=_PATIENCE_MS)
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"]


def chromium() -> str:
    """Debian's own; it is installed where it is missing, for a browser that is not there is no test."""
    if found := shutil.which("chromium"):
        return found
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            ["apt-get", "-q", *command], check=False, capture_output=True, text=True, env=env, timeout=900
        )
        assert done.returncode == 0, f"chromium cannot be installed:\n{done.stdout}\n{done.stderr}"
    found = shutil.which("chromium")
    assert found, "apt-get has installed no chromium"
    return found


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=chromium(), args=_FLAGS)


@dataclass
class Person:
    """Somebody at a browser; what the browser had to complain about is kept."""

    context: BrowserContext
    page: Page
    url: str
    elsewhere: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(_PATIENCE_MS)
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("console", lambda said: self._hear(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, url: str) -> None:
        if urlsplit(url).scheme not in ("blob", "data") and urlsplit(url).netloc != urlsplit(self.url).netloc:
            self.elsewhere.append(url)

    def _hear(self, kind: str, text: str) -> None:
        # a refusal that a test provokes is told as an error, too
        if kind in ("error", "warning") and "the server responded with a status of" not in text:
            self.complaints.append(text)

    def open(self, path: str) -> Response:
        reply = self.page.goto(self.url + path)
        assert reply is not None
        return reply

    def begin_anew(self) -> None:
        self.page.unroute_all()
        self.page.set_viewport_size(WIDE)
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        self.open("/console/sign-in")  # a page that asks for nothing again
        self.page.evaluate("localStorage.clear()")
        self.elsewhere.clear()
        self.complaints.clear()

    def sign_in(self, key: str) -> None:
        self.open("/console/sign-in")
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()

    def assert_at_peace(self) -> None:
        """No other host was asked, and the browser had nothing to refuse or to complain about."""
        assert self.elsewhere == []
        assert self.complaints == []


@contextmanager
def person(browser: Browser, url: str, **options: Any) -> Iterator[Person]:
    context = browser.new_context(viewport=WIDE, ignore_https_errors=True, **options)
    try:
        yield Person(context, context.new_page(), url)
    finally:
        context.close()


# -- what every page is held to ------------------------------------------------------------------------


def faults_for_some_people(page: Page, *, only: Sequence[str] = ()) -> list[str]:
    """What axe finds to be serious or critical, in a world of its own that no policy of the page concerns.

    ``only``: by these rules alone.
    """
    session = page.context.new_cdp_session(page)
    frame = session.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
    world = session.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "axe"})
    here = {"contextId": world["executionContextId"]}
    session.send("Runtime.evaluate", {"expression": AXE, **here})
    told = session.send(
        "Runtime.evaluate",
        {
            "expression": _RUN_AXE.replace("ONLY", json.dumps({"runOnly": list(only)} if only else {})),
            "awaitPromise": True,
            "returnByValue": True,
            **here,
        },
    )
    session.detach()
    assert "value" in told["result"], told
    return list(told["result"]["value"])


_RUN_AXE = """
axe.run(document, {resultTypes: ["violations"], ...ONLY}).then((found) => {
  if (!found.passes.length) throw new Error("axe has looked at nothing");
  return found.violations
    .filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")}`);
})
"""


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def cut_lists(page: Page) -> list[str]:
    """The lists of the page whose right end is out of sight until they are scrolled."""
    lists = "[...document.querySelectorAll('.scroll')].filter(list => list.scrollWidth > list.clientWidth)"
    return list(page.evaluate(f"{lists}.map(list => list.getAttribute('aria-label'))"))


def weight(page: Page) -> int:
    """Bytes of the page and all of its files."""
    return int(
        page.evaluate(
            """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
            .reduce((sum, entry) => sum + (entry.encodedBodySize || 0), 0)"""
        )
    )
