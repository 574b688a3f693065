"""The first page: it says how to push here, and what it says works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from console.browser import Person
from console.door import inside
from console.stage import Stage
from harness import create_pool, own_job, wait_for


def test_figures_and_the_chart(admin: Person, stage: Stage) -> None:
    admin.open("/console")
    facts = dict(
        zip(
            admin.page.locator("dt").all_inner_texts(),
            admin.page.locator("dd").all_inner_texts(),
            strict=True,
        )
    )
    assert int(facts["Pools"]) >= 3
    assert int(facts["Waiting for execute"]) >= 1
    assert re.fullmatch(r"[\d.]+ [kMGT]B of [\d.]+ [kMGT]B", facts["Free disk"])
    chart = admin.page.get_by_role("img", name=re.compile(r"\d+ jobs in 24 hours, \d+ of them in error"))
    said = [int(n) for n in re.findall(r"\d+", chart.get_attribute("aria-label") or "")]
    jobs = stage.api.get(f"/api/v1/pools/{stage.pool}/jobs").json()
    assert said[0] >= len(jobs)
    assert said[2] >= sum(job["status"] == "ERROR" for job in jobs) >= 1
    assert admin.page.locator("svg.chart .bad-bar").evaluate_all(
        "bars => bars.some(b => b.height.baseVal.value > 0)"
    )


@pytest.mark.parametrize("name", ["curl", "python"])
def test_a_snippet_pushes_as_it_stands(admin: Person, stage: Stage, tmp_path: Path, name: str) -> None:
    pool = create_pool(stage.api, f"by {name}")
    admin.open(f"/console?pool={pool}")
    (tmp_path / "orders.csv").write_text("id,customer\n1,Ada\n")
    text = admin.page.locator(f"#{name}").text_content() or ""
    text = "\n".join(line for line in text.splitlines() if "HEADRACE_KEY=…" not in line)
    command = ["bash", "-euo", "pipefail", "-c", text] if name == "curl" else [sys.executable, "-c", text]
    env = {**os.environ, "HEADRACE_KEY": stage.server.admin_key, "no_proxy": "*", "HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    [job] = stage.api.get(f"/api/v1/pools/{pool}/jobs").json()
    ended = wait_for(lambda: (j := own_job(stage.api, pool, job["id"]))["finishedAt"] and j)
    assert (ended["status"], ended["counts"]["inserted"]) == ("DONE", 1)


def test_the_other_snippets_are_filled_in(admin: Person, stage: Stage) -> None:
    admin.open(f"/console?pool={stage.pool}")
    cli, cel = (admin.page.locator(f"#{name}").text_content() or "" for name in ("cli", "pycelonis"))
    assert f"--pool {stage.pool}" in cli
    assert f'base_url="{stage.server.url}"' in cel
    assert f'get_data_pool("{stage.pool}")' in cel


def test_the_url_is_copied(admin: Person, stage: Stage) -> None:
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    admin.open("/console")
    admin.page.get_by_role("button", name="Copy").first.click()
    expect(admin.page.get_by_role("button", name="Copied")).to_be_visible()
    assert admin.page.evaluate("navigator.clipboard.readText()") == stage.server.url


def test_who_sees_no_pool_sees_no_jobs(stage: Stage) -> None:
    """Figures are of what the key may see."""
    made = stage.api.post(
        "/api/v1/keys", json={"name": "tables", "permissions": ["read"], "tables": ["other_*"]}
    )
    with inside(stage.server, stage.stranger) as client:
        page = client.get("/console").text
        assert "None yet." in page
        assert "Order to cash" not in page
    with inside(stage.server, made.json()["key"]) as client:
        assert "None yet." in client.get("/console").text
