"""``headrace keys``: the life of keys and clients from the command line, beside a server that runs or not.

The commands work on the metadata of the data folder, as the user whom the folder belongs to. No secret is
ever an argument, for every user of the machine can read those; a new one is all that stands on stdout.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from headrace.commands.ending import Stop
from headrace.commands.settled import DataDir, settled
from headrace.model import LONGEST_OVERLAP, AuditEntry, Key, KeyKind, Permission, now

if TYPE_CHECKING:
    from headrace.keys import KeyRing
    from headrace.metadata import Metadata
    from headrace.settings import Settings

app = typer.Typer(help="Make, list, rotate, disable and revoke keys and OAuth clients.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(help="the id of a key or client, as 'list' shows it")]


class Ring:
    """The keys of a data folder, and its audit."""

    def __init__(self, metadata: Metadata, keys: KeyRing, settings: Settings) -> None:
        self.metadata = metadata
        self.keys = keys
        self.settings = settings

    def note(self, action: str, subject: str | None) -> None:
        actor = f"command line ({_user()})"
        entry = AuditEntry(now(), None, actor, "", action, 200, str(uuid4()), subject=subject)
        self.metadata.audit.add([entry], timedelta(days=self.settings.audit_days))


@contextmanager
def _opened(data_dir: Path | None) -> Iterator[Ring]:
    from headrace.keys import KeyRing  # noqa: PLC0415  slow to import
    from headrace.metadata import CannotOpen, Metadata  # noqa: PLC0415

    settings = settled(data_dir=data_dir)
    if isinstance(settings.database, Path) and not settings.database.is_file():
        raise Stop(f"There is no server's folder at {settings.data_dir}: name it with --data-dir.")
    os.umask(0o077)
    try:
        metadata = Metadata(settings.database)
    except CannotOpen as error:
        raise Stop(str(error)) from error
    try:
        yield Ring(metadata, KeyRing(metadata), settings)
    finally:
        metadata.close()


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="a name for people")],
    permission: Annotated[list[Permission], typer.Option(help="may be given several times")],
    kind: Annotated[KeyKind, typer.Option(help="'client' gets tokens by OAuth2")] = KeyKind.APPLICATION,
    pool: Annotated[list[str] | None, typer.Option(help="id of a pool; default: every pool")] = None,
    table: Annotated[list[str] | None, typer.Option(help="pattern of names; default: every table")] = None,
    expires: Annotated[datetime | None, typer.Option(help="UTC")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key; its secret is printed, once. Of a client: its id and its secret."""
    until = expires.replace(tzinfo=UTC) if expires else None
    with _opened(data_dir) as ring:
        key, secret = ring.keys.create(name, kind, permission, pool or None, until, tables=table or None)
        ring.note("create-key", key.id)
    _show_secret(key, secret)


@app.command("list")
def list_(data_dir: DataDir = None) -> None:
    """Every key and client, one a line."""
    with _opened(data_dir) as ring:
        for key in ring.keys.list():
            typer.echo(_line(key))


@app.command()
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        float,
        typer.Option(
            min=0, max=LONGEST_OVERLAP / timedelta(hours=1), help="how long the old secret stays good"
        ),
    ] = 0,
    data_dir: DataDir = None,
) -> None:
    """A new secret, printed once. Without an overlap the old one ends now, and a client's tokens with it."""
    with _opened(data_dir) as ring:
        key, secret = ring.keys.rotate(ring.keys.get(key_id), timedelta(hours=overlap_hours))
        ring.note("rotate-key", key_id)
    _show_secret(key, secret)


@app.command()
def revoke(key_id: KeyId, data_dir: DataDir = None) -> None:
    """End a key for good, at once."""
    with _opened(data_dir) as ring:
        ring.keys.revoke(ring.keys.get(key_id))
        ring.note("revoke-key", key_id)


@app.command()
def disable(key_id: KeyId, data_dir: DataDir = None) -> None:
    """End a key at once, until it is enabled again."""
    with _opened(data_dir) as ring:
        ring.keys.disable(ring.keys.get(key_id))
        ring.note("disable-key", key_id)


@app.command()
def enable(key_id: KeyId, data_dir: DataDir = None) -> None:
    """Let a disabled key in again."""
    with _opened(data_dir) as ring:
        ring.keys.enable(ring.keys.get(key_id))
        ring.note("enable-key", key_id)


@app.command()
def explain(
    key_id: KeyId,
    action: Annotated[Permission, typer.Option(help="what it wants to do")],
    pool: Annotated[str | None, typer.Option(help="id of the pool; default: the server")] = None,
    table: Annotated[str | None, typer.Option(help="name of the table")] = None,
    data_dir: DataDir = None,
) -> None:
    """Whether a key may do that, and which rule decides. The exit code is 1 if it may not."""
    from headrace.permissions import decide  # noqa: PLC0415

    with _opened(data_dir) as ring:
        decision = decide(ring.keys.get(key_id), action, pool, table)
    typer.echo(f"{'allowed' if decision.allowed else 'denied'}: {decision.sentence} (rule: {decision.rule})")
    raise typer.Exit(0 if decision.allowed else 1)


@app.command()
def rotate_signing_key(data_dir: DataDir = None) -> None:
    """Sign tokens with a new key; the old one verifies until its last token has expired."""
    from headrace.tokens import Tokens  # noqa: PLC0415

    with _opened(data_dir) as ring:
        hours, days = ring.settings.token_hours, ring.settings.token_key_days
        tokens = Tokens(ring.metadata, lifetime=timedelta(hours=hours), key_life=timedelta(days=days))
        kid = tokens.rotate_signing_key().kid
        ring.note("rotate-signing-key", kid)
    typer.echo(kid)


def _show_secret(key: Key, secret: str) -> None:
    typer.echo(_line(key), err=True)
    if key.kind is KeyKind.CLIENT:
        typer.echo(f"CLIENT_ID={key.id}\nCLIENT_SECRET={secret}")
    else:
        typer.echo(secret)


def _line(key: Key) -> str:
    words = [key.id, key.kind, key.prefix + "…", ",".join(sorted(key.permissions))]
    words.append("pools: " + (",".join(sorted(key.pool_ids)) if key.pool_ids is not None else "all"))
    words.append("tables: " + (",".join(sorted(key.tables)) if key.tables is not None else "all"))
    moments = (
        ("expires", key.expires_at),
        ("used", key.last_used_at),
        ("disabled", key.disabled_at),
        ("revoked", key.revoked_at),
    )
    words += [f"{word}: {at:%Y-%m-%dT%H:%M}Z" for word, at in moments if at]
    return "  ".join([*words, key.name])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        return str(os.getuid())
