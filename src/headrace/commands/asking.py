"""Which server and which pool a command is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.commands.ending import Code, Stop, this_command, warn

if TYPE_CHECKING:
    from headrace.client import Client, Pool
    from headrace.client.profiles import Profile

ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile", help="a server that 'headrace login' has stored; default: HEADRACE_URL, or the first one"
    ),
]
PoolName = Annotated[
    str | None,
    typer.Option("--pool", help="name or id of the pool; default: the one of the profile"),
]
Connection = Annotated[
    str | None,
    typer.Option("--connection", help="id of the data connection that the table belongs to"),
]


@contextmanager
def client(profile: str | None, patience: float = 60.0) -> Iterator[Client]:
    """A client of the server that is meant."""
    with _client(_chosen(profile), patience) as found:
        yield found


@contextmanager
def pool(profile: str | None, name: str | None, patience: float = 60.0) -> Iterator[Pool]:
    """The pool that is meant."""
    chosen = _chosen(profile)
    wanted = name or chosen.pool
    if not wanted:
        raise Stop("which pool? Name it with --pool.", code=Code.USAGE, then="headrace pools ls")
    with _client(chosen, patience) as found:
        yield found.pool(wanted)


def _chosen(profile: str | None) -> Profile:
    from headrace.client import profiles  # noqa: PLC0415  slow to import

    if profiles.readable_by_others():
        warn(f"others can read {profiles.config_file()}", f"chmod 600 {profiles.config_file()}")
    return profiles.chosen(profile)


def _client(profile: Profile, patience: float) -> Client:
    from headrace.client import Client  # noqa: PLC0415

    assert profile.key is not None
    return Client(profile.url, profile.key, verify=verified(profile.verify), patience=patience)


def verified(verify: bool | str) -> object:
    """As httpx takes it: a path is that of the certificates to trust."""
    if isinstance(verify, bool):
        return verify
    import ssl  # noqa: PLC0415

    return ssl.create_default_context(cafile=verify)


def confirmed(question: str, *, yes: bool) -> None:
    """A person says yes, or nothing is done. Without a terminal only ``--yes`` is one."""
    import sys  # noqa: PLC0415

    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(f"{question} Say so with --yes.", code=Code.USAGE, then=f"{this_command()} --yes")
    if not typer.confirm(question, err=True):
        raise Stop("nothing was done.")
