"""Every page, in one list, each with the permission it needs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from headrace.console import (
    admin,
    again,
    following,
    importing,
    job,
    jobs,
    rejects,
    signing,
    sql,
    start,
    tables,
    undo,
    upkeep,
)
from headrace.console.rendering import Page, PageRoute, rendered
from headrace.console.sessions import ROOT, at_the_door, by_cookie, door, genuine
from headrace.model import Permission
from headrace.web.rules import ANY, OPEN, guard

PUSH, READ, ADMIN = Permission.PUSH, Permission.READ, Permission.ADMIN

_POOL = ROOT + "/pools/{pool_id:part}"
_JOB = _POOL + "/jobs/{job_id:part}"
_TABLE = _POOL + "/tables/{name:part}"
_KEY = ROOT + "/keys/{key_id:part}"
_DOOR = ROOT + "/sign-in"

PAGES = (
    Page("GET", "/", signing.front, OPEN, ""),
    Page("GET", _DOOR, signing.sign_in_page, OPEN, "", template="sign_in.html"),
    Page("POST", _DOOR, signing.sign_in, OPEN, "", template="sign_in.html"),
    Page("POST", ROOT + "/sign-out", signing.sign_out, ANY, ""),
    Page("GET", ROOT + "/assets/{name:part}", signing.asset, OPEN, ""),
    Page("GET", ROOT, start.start, READ, "start", template="start.html"),
    Page(
        "GET",
        _POOL + "/jobs",
        jobs.list_jobs,
        READ,
        "jobs",
        True,
        template="jobs.html",
        live="jobs_live.html",
    ),
    Page("GET", _POOL + "/changes", following.follow, READ, "jobs", True),
    Page("GET", _JOB, job.get_job, READ, "jobs", template="job.html", live="job_live.html"),
    Page("POST", _JOB + "/execute", job.execute_job, PUSH, "jobs"),
    Page("POST", _JOB + "/delete", job.delete_job, PUSH, "jobs"),
    Page("GET", _JOB + "/clone", again.clone_page, PUSH, "jobs", template="clone.html"),
    Page("POST", _JOB + "/clone", again.clone_job, PUSH, "jobs"),
    Page("POST", _JOB + "/cancel", job.cancel_job, PUSH, "jobs"),
    Page("POST", _JOB + "/retry", again.retry_job, PUSH, "jobs"),
    Page("GET", _JOB + "/undo", undo.preview_undo, PUSH, "jobs", template="undo.html"),
    Page("POST", _JOB + "/undo", undo.undo_job, PUSH, "jobs"),
    Page("POST", _JOB + "/chunks", job.push_chunk, PUSH, "jobs"),
    Page("GET", _JOB + "/rejects", rejects.list_rejects, READ, "jobs", template="rejects.html"),
    Page("GET", _JOB + "/rejects.csv", rejects.download_rejects, READ, "jobs"),
    Page("POST", _JOB + "/rejects/replay", rejects.replay_rejects, PUSH, "jobs"),
    Page("GET", _POOL + "/tables", tables.list_tables, READ, "tables", True, template="tables.html"),
    Page("GET", _TABLE, tables.get_table, READ, "tables", template="table.html"),
    Page("GET", _TABLE + "/profile", tables.get_profile, READ, "tables", template="profile.html"),
    Page("GET", _TABLE + "/versions", tables.get_versions, READ, "tables", template="versions.html"),
    Page("GET", _TABLE + "/export", tables.export_table, READ, "tables"),
    Page("GET", _POOL + "/upkeep", upkeep.get_stored, ADMIN, "tables", template="pool_upkeep.html"),
    Page("POST", _POOL + "/upkeep", upkeep.maintain_pool, ADMIN, "tables"),
    Page("POST", _TABLE + "/upkeep", upkeep.maintain_table, ADMIN, "tables"),
    Page("GET", _POOL + "/sql", sql.sql_page, READ, "sql", True, template="sql.html"),
    Page("POST", _POOL + "/sql", sql.run_on_page, READ, "sql", True, template="sql.html"),
    Page("POST", _POOL + "/sql/run", sql.run_query, READ, "sql", True),
    Page("GET", _POOL + "/import", importing.import_page, PUSH, "import", True, template="import.html"),
    Page("POST", _POOL + "/import/look", importing.look, READ, "import", True, template="import_look.html"),
    Page("POST", _POOL + "/import", importing.create_job, PUSH, "import", True),
    Page("GET", _JOB + "/outlook", importing.outlook, PUSH, "import", template="import_outlook.html"),
    Page("POST", _JOB + "/types", importing.put_schema, PUSH, "import"),
    Page("GET", ROOT + "/keys", admin.list_keys, ADMIN, "keys", template="keys.html"),
    Page("POST", ROOT + "/keys", admin.create_key, ADMIN, "keys", template="keys.html"),
    Page("POST", _KEY + "/disable", admin.disable_key, ADMIN, "keys"),
    Page("POST", _KEY + "/enable", admin.enable_key, ADMIN, "keys"),
    Page("POST", _KEY + "/revoke", admin.revoke_key, ADMIN, "keys"),
    Page("GET", ROOT + "/upkeep", upkeep.list_stored, ADMIN, "upkeep", template="upkeep.html"),
    Page("GET", ROOT + "/gc", upkeep.foresee_retention, ADMIN, "upkeep", template="old.html"),
    Page("POST", ROOT + "/gc", upkeep.run_retention, ADMIN, "upkeep"),
    Page("GET", ROOT + "/settings", admin.list_settings, ADMIN, "settings", template="settings.html"),
    Page("GET", ROOT + "/audit", admin.read_audit, ADMIN, "audit", template="audit.html"),
    Page("GET", ROOT + "/{rest:path}", signing.no_page, ANY, ""),
)


def add_pages(app: FastAPI) -> None:
    router = APIRouter(route_class=PageRoute)
    for page in PAGES:
        router.add_api_route(
            page.path,
            rendered(page),
            methods=[page.method],
            include_in_schema=False,
            response_model=None,
            dependencies=_rules(page),
        )
    app.include_router(router)


def _rules(page: Page) -> list[Any]:
    """In their order: who is asking, may it, and is the form one of ours."""
    at_door = page.path == _DOOR
    rules = [Depends(door)] if at_door else []
    if page.needs != OPEN or page.method != "GET":
        rules.append(Depends(guard(page, by_cookie)))
    if page.method != "GET":
        rules.append(Depends(at_the_door if at_door else genuine))
    return rules
