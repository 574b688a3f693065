"""``headrace gc``: what is old enough goes now, where the server would let go of it within the hour."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.commands.asking import ProfileName, client
from headrace.commands.output import Format, Output, show


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go; nothing does")] = False,
    profile: ProfileName = None,
    output: Output = Format.TABLE,
) -> None:
    """Let go of jobs, rejects and entries of the audit that were kept long enough; needs an administrator.

    How long is said by the server's settings keep_jobs_days, keep_rejects_days, keep_new_jobs_days and
    audit_days. A job stays as long as a version of a table names it.
    """
    with client(profile, patience=3600.0) as there:
        found = there.gc(dry_run=dry_run)
    show(({"kind": kind, "count": count} for kind, count in found.items()), ("kind", "count"), output)
