"""The files to deploy it with: what can be looked at without a daemon or a cluster is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from docs.test_docs import coded, document, rows
from headrace import __version__
from headrace.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.prefix) / "bin"
COMPOSE = sorted(DEPLOY.glob("compose*.yaml"))
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for path in (DEPLOY / "kubernetes").glob("*.yaml")
    for manifest in yaml.safe_load_all(path.read_text())
]
UNIT = DEPLOY / "headrace.service"
SETTINGS = Settings.model_construct(staging_processes=2)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


# -- linters -------------------------------------------------------------------------------------------


def test_the_dockerfile() -> None:
    done = run(BIN / "hadolint", DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_the_linter_of_the_dockerfile_finds_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd / && pip install headrace\n")
    assert run(BIN / "hadolint", tmp_path / "Dockerfile").returncode == 1


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose(path: Path) -> None:
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    broken = {**manifest, "spec": {**manifest["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_the_unit(tmp_path: Path) -> None:
    """With a program that is here; the rest is as it stands."""
    installed = tmp_path / UNIT.name
    installed.write_text(UNIT.read_text().replace("/opt/headrace/bin/headrace", str(BIN / "headrace")))
    done = run("systemd-analyze", "verify", "--man=no", installed)
    assert UNIT.name not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_the_unit_is_hardened() -> None:
    """By systemd's own measure, from 0 (safe) to 100."""
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", UNIT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


# -- what they say -------------------------------------------------------------------------------------


FILES = [path for path in DEPLOY.rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_settings_exist(path: Path) -> None:
    named = set(re.findall(r"HEADRACE_([A-Z_]+)", path.read_text()))
    assert named <= {name.upper() for name in Settings.model_fields}


def test_every_file_is_in_the_document() -> None:
    text = document("docs/deploying.md")
    for path in FILES:
        name = str(path.relative_to(ROOT)).removesuffix(".dockerignore")
        assert f"`{name}`" in text, name


def test_the_way_out_is_longer_than_the_drain() -> None:
    [_, stateful] = MANIFESTS
    compose = yaml.safe_load(COMPOSE[-1].read_text())["services"]["headrace"]
    unit = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)
    assert unit
    seconds = [
        int(unit[1]),
        int(compose["stop_grace_period"].removesuffix("s")),
        stateful["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
    ]
    assert min(seconds) >= SETTINGS.drain_seconds + 10


def test_image_volume_user_and_port_are_the_same_everywhere() -> None:
    [service, stateful] = MANIFESTS
    pod = stateful["spec"]["template"]["spec"]
    [container] = pod["containers"]
    image = (DEPLOY / "Dockerfile").read_text()
    assert container["image"] == f"headrace:{__version__}"
    assert f"USER {pod['securityContext']['runAsUser']}\n" in image
    assert f"EXPOSE {SETTINGS.port}\n" in image
    assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["port"] == SETTINGS.port
    assert "VOLUME /data\n" in image
    assert container["volumeMounts"][0]["mountPath"] == "/data"
    compose = yaml.safe_load(COMPOSE[-1].read_text())["services"]["headrace"]
    assert compose["ports"] == [f"127.0.0.1:{SETTINGS.port}:{SETTINGS.port}"]
    assert compose["volumes"] == ["data:/data"]


def memory_gb(given: dict[str, Any]) -> float:
    """The sum of docs/deploying.md."""
    s = {
        **SETTINGS.model_dump(),
        **{name.removeprefix("HEADRACE_").lower(): value for name, value in given.items()},
    }
    staging = int(s["staging_processes"]) * int(s["staging_memory_mb"])
    loading, queries = 2 * int(s["load_memory_mb"]), 2 * int(s["sql_processes"]) * int(s["sql_memory_mb"])
    return 0.4 + (staging + loading + queries) / 1024 + int(s["sql_warm_processes"]) * 0.1


def test_what_they_set_fits_into_their_memory() -> None:
    compose = yaml.safe_load(COMPOSE[-1].read_text())["services"]["headrace"]
    [container] = MANIFESTS[1]["spec"]["template"]["spec"]["containers"]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert memory_gb(compose["environment"]) < int(compose["mem_limit"].removesuffix("g"))
    assert memory_gb(env) < int(container["resources"]["limits"]["memory"].removesuffix("Gi"))
    text = document("docs/deploying.md")
    assert f"= {memory_gb({}):.1f} GB" in text
    assert f"{memory_gb(env):.1f} GB, within a limit of 6" in text


def test_the_figures_are_those_of_the_bench() -> None:
    bench = {row[0]: row[1] for row in rows("docs/performance-run.md") if row[0] != "what"}
    sizing = {row[0]: row[2] for row in rows("docs/deploying.md") if len(row) == 3 and row[2]}
    staged = bench["staging, CPU, against DuckDB COPY (read_csv) TO parquet"]
    assert staged in sizing["CPU, staging"]
    uploaded = float(bench["upload, CPU per GB, against a raw-body sink"].removesuffix(" s"))
    assert f"{uploaded:g} s of CPU per GB" in sizing["CPU, receiving"]
    replaced = bench["REPLACE, execute to DONE, wall, against CTAS"]
    assert replaced in sizing["time from execute to DONE, REPLACE"]
    assert bench["… server and its idle children"] in sizing["memory, server"]
    assert bench["… until it is staged as well, all processes"] in sizing["memory, staging"]
    per_gb = float(staged.removesuffix(" s")) / 0.19
    assert f"{per_gb:.0f} s per GB" in sizing["CPU, staging"]
    assert f"{1 / (uploaded + round(per_gb)):.2f} GB of CSV a second" in document("docs/deploying.md")


def test_settings_of_the_sums_exist() -> None:
    assert {"staging_memory_mb", "keep_versions_days", "keep_jobs_days"} <= set(
        coded(document("docs/deploying.md"))
    )
    named = {word for word in coded(document("docs/deploying.md")) if re.fullmatch(r"[a-z]+(_[a-z]+)+", word)}
    assert named <= set(Settings.model_fields)
