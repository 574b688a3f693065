"""The documents say what the code does: every name in them is compared, every command executed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.util import CommandError
from pydantic_core import PydanticUndefined

import headrace.metadata.jobs
from harness import RunningServer, own_job, run_job, sql
from headrace import __version__, hints
from headrace.console.pages import PAGES
from headrace.crashpoints import POINTS
from headrace.datepatterns import _FIELDS
from headrace.errors import LoadFailed, known_errors
from headrace.logs import LINES
from headrace.metadata import Metadata
from headrace.metrics import COUNTED, MEASURED, STANDING
from headrace.model import ChunkState, JobStatus
from headrace.permissions import Rule
from headrace.settings import OF_CLIENTS, Settings
from headrace.web.routes import ROUTES
from headrace.web.rules import OPEN
from mutants import page as mutants

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ids = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))


def document(name: str) -> str:
    return (ROOT / name).read_text()


def rows(name: str) -> list[tuple[str, ...]]:
    """The cells of every row of every table; a bar in a cell is written as ``\\|``."""
    lines = [line for line in document(name).splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]


def coded(text: str) -> list[str]:
    return re.findall(r"`([^`]*)`", text)


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document(name), re.S | re.M)


# -- names ---------------------------------------------------------------------------------------------


def test_settings() -> None:
    written = [row for row in rows("docs/settings.md") if row[0] != "setting"]
    assert written == [
        (f"`{name}`", f"`HEADRACE_{name.upper()}`", _default(name, field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]


_MADE = {
    "staging_processes": "one a core, at most 8",
    "otlp_endpoint": "`OTEL_EXPORTER_OTLP_ENDPOINT` of the environment",
    "storage_key": "`AWS_ACCESS_KEY_ID` of the environment",
    "storage_secret": "`AWS_SECRET_ACCESS_KEY` of the environment",
}


def _default(name: str, value: Any) -> str:
    if value is PydanticUndefined:
        return _MADE[name]
    if value is None or str(value) == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


@ids
def test_settings_that_are_mentioned_exist(path: Path) -> None:
    mentioned = set(re.findall(r"HEADRACE_[A-Z_]+", path.read_text()))
    assert mentioned <= {f"HEADRACE_{name.upper()}" for name in Settings.model_fields} | OF_CLIENTS


def test_errors() -> None:
    written = [row for row in rows("docs/errors.md") if row[0] not in ("error", "code") and len(row) > 2]
    by_name = {row[0]: row[1:] for row in written if row[0]}
    known = {cls.__name__: cls for cls in known_errors()}
    assert by_name.keys() == known.keys()
    for name, cls in known.items():
        retry = "yes" if cls.retry else "no"
        http = () if issubclass(cls, LoadFailed) else (str(cls.status),)
        expected = (f"`{cls.code}`", *http, retry)
        assert by_name[name][: len(expected)] == expected


def test_who_is_to_come_again_hears_when() -> None:
    """Every 429 and 503 has a Retry-After (docs/security.md)."""
    asked = [cls for cls in known_errors() if cls.status in (429, 503)]
    assert len(asked) > 3
    assert all((cls().retry_after or 0) > 0 for cls in asked)


def test_codes_of_rejects() -> None:
    """Every code that the source can give a reject, wherever it does so."""
    made = {"MalformedRecord", "MalformedLine", "BadRecord", "Fault", "Reject"}
    ours = {
        word.value
        for path in (ROOT / "src").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in made
        for word in call.args
        if isinstance(word, ast.Constant) and re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", str(word.value))
    }
    written = [coded(row[0])[0] for row in rows("docs/errors.md") if len(row) == 2 and row[0] != "code"]
    assert {"value-does-not-fit", "too-long-for-column", "unclosed-quote"} <= ours
    assert sorted(written) == sorted(ours)


def test_hints_know_no_other_codes() -> None:
    source = Path(hints.__file__).read_text()
    named = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source)) - {"utf-8"}
    written = {coded(row[0])[0] for row in rows("docs/errors.md") if len(row) == 2 and row[0] != "code"}
    assert len(named) > 5
    assert named <= written


def test_a_problem_and_a_reject_look_as_written(api: httpx.Client, pool: str) -> None:
    reject, problem = (json.loads(block) for block in blocks("docs/errors.md", "json"))
    reply = api.get(f"/api/v1/pools/{pool}/tables/orders")
    assert (reply.status_code, list(reply.json())) == (404, list(problem))
    columns = [
        {"columnName": "amount", "columnType": "FLOAT", "decimals": 2},
        {"columnName": "day", "columnType": "DATE"},
    ]
    lines = ["id,name,amount,day", *["1,x,1,2024-01-01"] * 5, '4711,Ada,"12,50",2024-01-01']
    data, more = "\n".join(lines).encode(), {"fileType": "CSV", "tableSchema": {"columns": columns}}
    job = run_job(api, pool, "t", [data], **more)
    [shown] = api.get(f"/api/v1/pools/{pool}/jobs/{job['id']}/rejects").json()
    assert {**shown, "byteOffset": None} == reject
    sentence = f"Chunk 1, line 7, column amount: {reject['message']} Likely: {reject['hint']}."
    assert job["logs"][:2] == [sentence, f"  {reject['marked']}"]
    assert sentence in " ".join(document("docs/errors.md").split())


def test_routes() -> None:
    written = {
        (method, coded(path)[0], needs)
        for method, path, needs, _ in rows("docs/api.md")
        if method != "method"
    }
    assert written == {(r.method, r.path.replace(":part", ""), str(r.needs)) for r in ROUTES}


def test_pages_of_the_console() -> None:
    """Each page that a person opens, with its address and what it needs."""
    written = {
        (coded(row[1])[0], row[2]) for row in rows("docs/console.md") if row[0] != "page" and len(row) == 4
    }
    shown = {page for page in PAGES if page.method == "GET" and page.template and page.needs != OPEN}
    parts = "/profile", "/versions", "/outlook", "/gc"
    assert written == {
        (page.path.replace(":part", ""), str(page.needs)) for page in shown if not page.path.endswith(parts)
    }


def test_pictures_are_small_and_each_page_has_one_light_and_one_dark() -> None:
    images = {path.stem: path.stat().st_size for path in (ROOT / "docs" / "images").glob("console-*.png")}
    assert max(images.values()) < 80_000
    names = {name.rpartition("-")[0] for name in images}
    assert {f"{name}-{scheme}" for name in names for scheme in ("light", "dark")} == set(images)
    assert {
        f"console-{name}" for name in ("start", "jobs", "job", "errors", "table", "sql", "import")
    } <= names


def test_lines_of_the_log() -> None:
    part = document("docs/operations.md").partition("## The log")[2].partition("\n## ")[0]
    written = re.findall(r"^\| `([^`]+)` \| (\w+) \|", part, re.M)
    assert written == [(event, level) for level, event, _ in LINES.values()]


def test_metrics() -> None:
    written = [row for row in rows("docs/metrics.md") if row[0] != "metric"]
    kinds = (("counter", COUNTED), ("histogram", MEASURED), ("gauge", STANDING))
    assert written == [
        (f"`{metric.name}`", kind, ", ".join(metric.labels), metric.help)
        for kind, metrics in kinds
        for metric in metrics
    ]


def test_the_page_of_mutants_says_what_was_found() -> None:
    found = mutants.read()
    assert document("docs/mutants.md") == mutants.page(found)
    assert "not explained" not in document("docs/mutants.md")
    assert all(result.killed >= 0.8 * result.mutants for result in found.values())


def test_rules_of_access() -> None:
    firsts = [coded(row[0]) for row in rows("docs/security.md") if len(row) == 2]
    assert [first[0] for first in firsts if first and first[0] in set(Rule)] == list(Rule)


def test_crash_points() -> None:
    steps = [row for row in rows("ARCHITECTURE.md") if len(row) == 4 and row[0][0].isdigit()]
    assert [point for row in steps for point in coded(row[3])] == list(POINTS)


def test_the_diagram_of_states_is_the_one_in_the_code() -> None:
    source = (headrace.metadata.jobs.__doc__ or "").partition("::\n")[2]
    diagram = [line.strip() for line in source.splitlines() if line.strip()]
    assert diagram == [line.strip() for line in blocks("docs/api.md", "")[0].splitlines()]
    assert set(re.findall(r"[A-Z]+\b", diagram[0])) == set(JobStatus)


@pytest.mark.parametrize("name", ["docs/api.md", "ARCHITECTURE.md"])
def test_states_are_named(name: str) -> None:
    assert all(re.search(rf"\b{status}\b", document(name)) for status in JobStatus)
    assert all(f"`{state}`" in document("docs/api.md") for state in ChunkState)


def test_letters_of_date_patterns() -> None:
    letters = re.search(r"pattern letters `([^`]*)`", document("docs/types.md"))
    assert letters is not None
    assert {word[0] for word in letters[1].split()} == {letter[0] for letter in _FIELDS}


def test_this_version_is_in_the_changelog() -> None:
    assert f"\n## {__version__}\n" in document("CHANGELOG.md")


# -- form ----------------------------------------------------------------------------------------------


def test_architecture_is_short() -> None:
    assert len(document("ARCHITECTURE.md").splitlines()) < 120


@ids
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_files_that_the_architecture_names_exist() -> None:
    named = {
        name for name in coded(document("ARCHITECTURE.md")) if re.fullmatch(r"[\w/.]+(\.py|\.md|/)", name)
    }
    missing = {n for n in named if not any((ROOT / base / n).exists() for base in ("", "src/headrace"))}
    assert not missing


def test_make_knows_the_commands() -> None:
    targets = set(re.findall(r"^([\w-]+):", document("Makefile"), re.M))
    for path in DOCUMENTS:
        assert set(re.findall(r"`make ([\w-]+)", path.read_text())) <= targets


_OF_A_MACHINE = re.compile(r"(?<![\w.~-])/([h]ome|[r]oot|[w]ork|[U]sers|[m]nt)/[\w.]+")
_REGISTRY = re.compile(
    r"[p]ypi\.org|[p]ythonhosted|[-_][i]ndex[-_]url|[r]egistry\.npmjs|[a]rtifactory|[n]exus|://[\w.:-]+/[s]imple\b"
)


def test_no_file_knows_a_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" in content:
            continue
        text = content.decode()
        assert str(ROOT) not in text, name
        found = _OF_A_MACHINE.search(text) or _REGISTRY.search(text)
        assert not found, f"{name}: {found and found[0]}"


# -- commands ------------------------------------------------------------------------------------------


def bash(server: RunningServer, folder: Path, script: str) -> str:
    """Run commands of a document, in a shell that stops at the first error."""
    env = {**os.environ, "URL": server.url, "KEY": server.admin_key, "no_proxy": "*"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_push_of_the_readme(server: RunningServer, tmp_path: Path) -> None:
    _, push = blocks("README.md", "bash")
    status, answer = bash(server, tmp_path, push).split("\n", 1)
    assert status == "DONE"
    assert '["0001","Ada","12.50",' in answer
    assert '["0002","Grace",null,' in answer


def test_the_commands_of_the_readme(server: RunningServer, tmp_path: Path) -> None:
    [block] = blocks("README.md", "sh")
    where, commands = block.split("\n", 1)
    settings = Settings.model_construct()
    url, key = f"http://{settings.host}:{settings.port}", f"$(cat {settings.data_dir}/admin-key)"
    assert where.startswith(f"export HEADRACE_URL={url} HEADRACE_KEY={key} ")
    (tmp_path / "orders.csv").write_text("id,amount\n0001,12.50\n")
    renamed = commands.replace("My pool", "of the readme")
    path = f"export PATH={sys.prefix}/bin:$PATH HEADRACE_URL=$URL HEADRACE_KEY=$KEY XDG_CACHE_HOME=$PWD"
    told = bash(server, tmp_path, f"{path}\n{renamed}")
    assert "REPLACE of orders: 1 rows in, 1 inserted." in told
    assert told.splitlines()[-1].split()[:2] == ["0001", "12.50"]


def test_it_is_on_the_first_screen() -> None:
    lines = document("README.md").splitlines()
    assert next(n for n, line in enumerate(lines, 1) if "/sql" in line) <= 40


def test_the_variables_of_the_readme_have_the_defaults_of_the_server() -> None:
    _, push = blocks("README.md", "bash")
    settings = Settings.model_construct()
    url, key = f"http://{settings.host}:{settings.port}", f"$(cat {settings.data_dir}/admin-key)"
    assert push.startswith(f"URL=${{URL:-{url}}} KEY=${{KEY:-{key}}}\n")


def test_a_key_is_made_as_the_operations_say(server: RunningServer, tmp_path: Path) -> None:
    _, push = blocks("README.md", "bash")
    [make] = blocks("docs/operations.md", "bash")
    assert '"key":"hr_app_' in bash(server, tmp_path, push + make)


@pytest.mark.parametrize("name", ["README.md", "docs/operations.md"])
def test_things_lie_where_the_documents_say(
    server: RunningServer, pool: str, api: httpx.Client, name: str
) -> None:
    run_job(api, pool, "t", [b"a\n1,2\n"], fileType="CSV", maxRejectedRows=1)
    tree = document(name).partition("    headrace-data/")[2].partition("\n\n")[0].splitlines()[1:]
    written = {part for line in tree for part in line.strip().split("  ")[0].split(", ")}
    top = {part.partition("/")[0] for part in written}
    of_a_pool = {part.split("/")[2] for part in written if part.startswith("pools/")}
    there = {path.name for path in server.data_dir.iterdir()}
    now_and_then = {"temp", "tls-cert.pem", "tls-key.pem"}
    assert {"admin-key", "metadata.sqlite", "chunks", "pools"} <= top <= there | now_and_then
    assert {"catalog.sqlite", "data"} <= of_a_pool
    assert of_a_pool <= {path.name for path in (server.data_dir / "pools" / pool).iterdir()}


# -- what happens -------------------------------------------------------------------------------------


def test_an_older_version_does_not_start_on_the_folder_of_a_newer_one(tmp_path: Path) -> None:
    metadata = Metadata(tmp_path / "metadata.sqlite")
    with metadata.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of a later version'")
    metadata.close()
    with pytest.raises(CommandError, match="of a later version"):
        Metadata(tmp_path / "metadata.sqlite")


def test_empty_fields(api: httpx.Client, pool: str) -> None:
    schema = {"tableName": "t", "columns": [{"columnName": "i", "columnType": "INTEGER"}]}
    run_job(api, pool, "t", [b'i,s\n,\n"",""\n"  ",NULL\n'], fileType="CSV", tableSchema=schema)
    assert sql(api, pool, "SELECT i, s FROM t ORDER BY s NULLS FIRST") == [
        [None, None],
        [None, ""],
        [None, "NULL"],
    ]


def test_counts(api: httpx.Client, pool: str) -> None:
    job = run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")
    counts = own_job(api, pool, job["id"])["counts"]
    written = [
        coded(row[0])[0] for row in rows("docs/semantics.md") if len(row) == 2 and row[0].startswith("`")
    ]
    assert written == list(counts)
    law = re.search(r"^    rowsIn = (.*)$", document("docs/semantics.md"), re.M)
    assert law is not None
    assert law[1].split(" + ") == written[1:]
