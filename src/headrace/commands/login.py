"""``headrace login``: servers and the keys for them, stored for the other commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.commands.asking import verified
from headrace.commands.ending import Code, Stop, warn
from headrace.commands.output import Format, Output, show

app = typer.Typer()


@app.command()
def login(
    url: Annotated[str, typer.Argument(help="the server, https://… or http://…")],
    name: Annotated[str, typer.Option(help="a name for this profile")] = "default",
    pool: Annotated[str | None, typer.Option(help="pool that is meant where none is named")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file to trust, for instance the server's tls-cert.pem")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="take any certificate")] = False,
    keyring: Annotated[
        bool, typer.Option("--keyring", help="keep the key in the system's keyring, not in the file")
    ] = False,
    default: Annotated[bool, typer.Option("--default", help="use this profile where none is named")] = False,
) -> None:
    """Store a server and a key for it.

    The key is asked for, or read from standard input; it is tried before it is stored. The file is
    ~/.config/headrace/config.toml, and only you can read it.
    """
    from headrace.client import profiles  # noqa: PLC0415  slow to import

    url = profiles.checked_url(url)
    verify: bool | str = str(certificate.resolve()) if certificate else not insecure
    _warn_of_plain_http(url)
    key = profiles.checked_key(_asked())
    who = _tried(url, key, verify)
    profile = profiles.Profile(name, url, key, verify, pool)
    profiles.store(profile, default=default, in_keyring=keyring)
    print(f"{name}: {url}, as {who}")


@app.command()
def logout(name: Annotated[str, typer.Argument(help="the profile to forget")] = "default") -> None:
    """Forget a profile and its key. The key itself stays good: 'headrace keys revoke' ends it."""
    from headrace.client import profiles  # noqa: PLC0415

    profiles.forget(name)


@app.command("profiles")
def profiles_(output: Output = Format.TABLE) -> None:
    """The stored servers, without their keys."""
    from headrace.client import profiles  # noqa: PLC0415

    rows = [
        {"name": p.name, "url": p.url, "pool": p.pool, "key": "file" if p.key else "keyring"}
        for p in profiles.stored().values()
    ]
    show(rows, ["name", "url", "pool", "key"], output)


def _asked() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Key", hide_input=True, err=True))
    key = sys.stdin.readline()
    if not key.strip():
        raise Stop("no key came from standard input.", code=Code.USAGE)
    return key


def _tried(url: str, key: str, verify: bool | str) -> str:
    """Who the server takes us for. Raises what it says."""
    from headrace.client import Client  # noqa: PLC0415

    with Client(url, key, verify=verified(verify), patience=5.0) as client:
        return str(client.whoami()["name"])


def _warn_of_plain_http(url: str) -> None:
    from urllib.parse import urlsplit  # noqa: PLC0415

    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        warn("http sends the key and the data in clear: use https beyond this machine.")
