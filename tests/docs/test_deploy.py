"""What is deployed beside the server: its names exist, each alert has its runbook, commands are run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml

from docs.test_docs import bash, blocks, document
from harness import RunningServer, create_pool, run_job

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "headrace.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
OF_PROMETHEUS = {"up"}
OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")


def asked(panels: Iterable[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))


def on_the_board() -> list[str]:
    """Grafana fills in its variables before Prometheus sees them."""
    queries = "\n".join(asked(BOARD["panels"])).replace("$__rate_interval", "5m")
    return queries.replace("$instance", ".*").replace("$job", ".*").split("\n")


QUERIES = [*on_the_board(), *(rule["expr"] for rule in RULES)]


def selectors(node: Any) -> Iterator[Any]:
    """Every selector of a series in a query that was parsed."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.AggregateExpr):
        yield from selectors(node.expr)
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from (*selectors(node.lhs), *selectors(node.rhs))
    elif isinstance(node, promql_parser.Call):
        yield from (found for arg in node.args for found in selectors(arg))
    elif isinstance(node, promql_parser.MatrixSelector):
        yield from selectors(node.vector_selector)
    elif isinstance(node, promql_parser.ParenExpr):
        yield from selectors(node.expr)
    elif not isinstance(node, promql_parser.NumberLiteral):
        raise AssertionError(f"the test does not know {type(node)}")


@pytest.fixture(scope="module")
def told(server: RunningServer, api: httpx.Client) -> dict[str, set[str]]:
    """The metrics of a real server after a few jobs, each with the labels that it has."""
    pool = create_pool(api, "for the board")
    run_job(api, pool, "t", [b"id\n1\n"], fileType="CSV")
    run_job(api, pool, "t", [b"id,n\n1,x\n"], fileType="CSV", tableSchema=_SCHEMA)
    page = api.get("/metrics").text
    found: dict[str, set[str]] = {name: set() for name in re.findall(r"^# TYPE (\S+)", page, re.M)}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} ", page, re.M):
        base = name if name in found else name.rpartition("_")[0]
        found[base] |= set(re.findall(r'(\w+)="', labels))
    return found


_SCHEMA = {"tableName": "t", "columns": [{"columnName": "n", "columnType": "INTEGER"}]}


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_and_label_of_board_and_alerts_exists(told: dict[str, set[str]], query: str) -> None:
    found = list(selectors(promql_parser.parse(query)))
    assert found
    for selector in found:
        name = selector.name
        base = next((name.removesuffix(s) for s in OF_A_HISTOGRAM if name.endswith(s)), name)
        if name in OF_PROMETHEUS:
            continue
        metric = name if name in told else base
        assert metric in told, name
        labels = {matcher.name for matcher in selector.matchers.matchers} - {"instance", "job"}
        assert labels <= told[metric], (name, labels)


def test_labels_by_which_is_summed_exist(told: dict[str, set[str]]) -> None:
    every = set().union(*told.values()) | {"instance", "job", "le"}
    summed = re.findall(r"(?:by|on|group_left) ?\(([\w, ]+)\)", " ".join(QUERIES))
    assert len(summed) > 10
    assert {name for names in summed for name in names.split(", ")} <= every


def test_what_is_worth_telling_is_on_the_board() -> None:
    named = {selector.name for query in on_the_board() for selector in selectors(promql_parser.parse(query))}
    assert {f"headrace_{x}" for x in ("queue_age_seconds", "disk_free_bytes", "lost_leases_total")} <= named
    assert len(named) > 25


def test_the_panels_of_the_board_lie_beside_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in (
            (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        ):
            assert cell not in taken, (panel["title"], taken[cell])
            taken[cell] = panel["title"]
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_every_alert_has_its_runbook() -> None:
    headings = re.findall(r"^## (.+)$", document("docs/runbooks.md"), re.M)
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_every_runbook_says_what_to_do() -> None:
    for part in document("docs/runbooks.md").split("\n## ")[1:]:
        assert re.findall(r"^\*\*(\w+)\*\*", part, re.M) == ["Means", "Look", "Do"], part.splitlines()[0]
        assert "```bash" in part


def test_the_commands_of_the_runbooks(server: RunningServer, api: httpx.Client, tmp_path: Path) -> None:
    pool = create_pool(api, "of the runbooks")
    job = run_job(api, pool, "t", [b"id\n1\n"], fileType="CSV")["id"]
    path = f"export PATH={sys.prefix}/bin:$PATH XDG_CONFIG_HOME=$PWD POOL={pool} JOB={job}"
    script = "\n".join([path, *blocks("docs/runbooks.md", "bash")])
    said = bash(server, tmp_path, script)
    assert said.startswith('{"status":"ok"}{"status":"ready"')
    assert "REPLACE of t: 1 rows in, 1 inserted." in said
