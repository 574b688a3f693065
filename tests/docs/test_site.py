"""The manual as a site: built without a warning, complete, without another host, and served at /help."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from socket import create_connection
from urllib.parse import unquote, urlsplit

import httpx
import pytest
import yaml

from docs.pages import ROOT, environment
from harness import RunningServer
from headrace.errors import NotFound
from headrace.web.manual import FOLDER, POLICY, pages

_LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "form": "action"}
_NAMED_ONLY = {
    *("www.w3.org", "clipboardjs.com", "fontawesome.com", "lunrjs.com", "tartarus.org", "bit.ly"),  # in words
    *("api.github.com", "unpkg.com"),  # asked for what these pages do not have, and the policy closes them
}


class Html(HTMLParser):
    """What a page loads by itself, where its links lead, and whether a script stands in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.inline = 0
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given["id"]} if "id" in given else set()
        self.loads += [given[a] for a in (_LOADS.get(tag, ""), "srcset", "data-src") if given.get(a)]
        self.links += [given["href"]] if tag == "a" and "href" in given else []
        is_data = given.get("type") == "application/json"
        self.inline += tag == "script" and "src" not in given and not is_data
        self.inline += sum(name.startswith("on") for name in given)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = environment(NO_MKDOCS_2_WARNING="1")
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def parsed(site: Path) -> dict[Path, Html]:
    return {path: Html(path) for path in site.rglob("*.html")}


def test_every_page_can_be_reached() -> None:
    nav = re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2])
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert len(nav) == len(set(nav))
    assert set(nav) == pages | {"architecture.md", "changelog.md"}


def test_nothing_comes_from_another_host(site: Path, parsed: dict[Path, Html]) -> None:
    loads = [url for page in parsed.values() for url in page.loads]
    assert len(loads) > 100
    assert not [url for url in loads if urlsplit(url).netloc or urlsplit(url).scheme]
    for sheet in site.rglob("*.css"):
        text = sheet.read_text()
        assert "@import" not in text
        assert not [
            url for url in re.findall(r"url\(\s*[\"']?([^)\"']*)", text) if not url.startswith("data:")
        ]
    for script in site.rglob("*.js"):
        named = {urlsplit(url).netloc for url in re.findall(r"https?://[\w./@-]+", script.read_text())}
        assert named <= _NAMED_ONLY, script


def test_no_script_stands_in_a_page(parsed: dict[Path, Html]) -> None:
    assert not [path for path, page in parsed.items() if page.inline]


def test_what_is_linked_is_there(site: Path, parsed: dict[Path, Html]) -> None:
    """Also what the theme links, and what leads to a heading."""
    for path, page in parsed.items():
        for url in [*page.links, *page.loads]:
            target = urlsplit(url)
            if target.scheme in ("http", "https") or not (target.path or target.fragment):
                continue
            to = (path.parent / unquote(target.path)).resolve() if target.path else path
            assert to.is_file(), f"{path.relative_to(site)}: {url}"
            if target.fragment and to.suffix == ".html":
                assert unquote(target.fragment) in parsed[to].anchors, f"{path.relative_to(site)}: {url}"


def test_the_theme_is_told_to_load_no_font() -> None:
    settings = (ROOT / "mkdocs.yml").read_text()
    assert yaml.safe_load(settings.partition("\nmarkdown_extensions")[0])["theme"]["font"] is False


# -- served --------------------------------------------------------------------------------------------


@pytest.fixture
def anybody(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client("") as client:
        yield client


@pytest.mark.parametrize("path", ["/help", "/help/", "/help//"])
def test_without_a_key_and_from_its_first_page(anybody: httpx.Client, path: str) -> None:
    assert (FOLDER / "index.html").is_file(), "make docs"
    reply = anybody.get(path, follow_redirects=True)
    assert (reply.status_code, reply.url.path) == (200, "/help/index.html")
    assert reply.headers["content-type"].startswith("text/html")
    assert "Data Push API" in reply.text


def test_every_file_comes_with_its_policy(anybody: httpx.Client) -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        reply = anybody.get(f"/help/{path.relative_to(FOLDER)}")
        assert (reply.status_code, reply.content) == (200, path.read_bytes())
        assert reply.headers["content-security-policy"] == POLICY.decode()
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert "'unsafe-inline'" not in POLICY.decode().partition("script-src")[2].partition(";")[0]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "nothing.html",
            "adr",
            "adr/",
            "../manual.py",
            "..%2Fmanual.py",
            "%2e%2e/manual.py",
            "adr/../../cli.py",
        ),
        *("/etc/passwd", "%2Fetc%2Fpasswd", "..%5Cmanual.py", "index.html%00", "index.html/", "INDEX.HTML"),
        *(
            "....//manual.py",
            "%252e%252e/manual.py",
            "./../../../../../../etc/passwd",
            "assets/../../py.typed",
        ),
    ],
)
def test_no_other_file_can_be_meant(server: RunningServer, path: str) -> None:
    """Sent as it stands: a client library would tidy it up."""
    where = urlsplit(server.url)

    with create_connection((where.hostname or "", where.port or 0), timeout=60) as line:
        line.sendall(f"GET /help/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    found = path == "index.html/"  # trailing slashes make no difference, here as everywhere
    assert answer.startswith(b"HTTP/1.1 200 " if found else b"HTTP/1.1 404 "), answer[:200]


def test_where_it_is_not_built_it_says_so(tmp_path: Path) -> None:
    index, file = pages(tmp_path)
    reply = index()
    assert reply.status_code == 404
    assert b"`make docs`" in reply.body
    with pytest.raises(NotFound):
        file("index.html")
