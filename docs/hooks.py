"""What MkDocs does beside its work: pages from outside of the folder, and no script within a page."""

from __future__ import annotations

import re
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_OUTSIDE = {"ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md"}
_NEEDLESS = ("404.html", "sitemap.xml", "sitemap.xml.gz", "assets/javascripts/lunr")
_SCRIPTS = "assets/javascripts"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, page in _OUTSIDE.items():
        text = (_ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """A link out of the folder leads to the page that was made of the file."""
    up = "../" * page.file.src_uri.count("/")
    for name, made in _OUTSIDE.items():
        markdown = re.sub(rf"\]\((?:\.\./)+{name}", f"]({up}{made}", markdown)
    return markdown


def on_post_build(config: MkDocsConfig) -> None:
    site = Path(config.site_dir)
    for name in _NEEDLESS:  # without an address of the site the first three would lead astray
        path = site / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in site.rglob("*.map"):
        path.unlink()
    for path in site.rglob("*.html"):
        path.write_text(_without_inline_scripts(path.read_text(), path, site))


def _without_inline_scripts(html: str, path: Path, site: Path) -> str:
    """Each of them as a file of its own, so that the policy of the pages can forbid all others."""
    up = "../" * (len(path.relative_to(site).parts) - 1)

    def moved(found: re.Match[str]) -> str:
        script = found[1].encode()
        name = f"{_SCRIPTS}/{sha256(script).hexdigest()[:12]}.js"
        (site / name).write_bytes(script)
        return f'<script src="{up}{name}"></script>'

    return re.sub(r"<script>(.*?)</script>", moved, html, flags=re.S)
