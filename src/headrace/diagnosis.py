"""What may keep a server from working here, and its clients from reaching it: looked at, told, not mended."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from uuid import uuid4

from headrace import confinement
from headrace.backups import missing_files
from headrace.folders import server_of
from headrace.metadata import CannotOpen, postgres_version
from headrace.metadata.holding import damage_of, revision_of
from headrace.model import now
from headrace.settings import Settings, named_in_vain

_SHOWN = 3
_CLOCK_S = 5.0
_OLDEST = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock is right that shows a time before this was written."""

_EXPIRES_SOON = timedelta(days=30)


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it works, though not in every way
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """``advice``: what to do, where something is to be done."""

    check: str
    state: State
    found: str
    advice: str | None = None


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything, one after the other; nothing is changed."""
    folder = settings.data_dir.resolve()
    served = server_of(folder)
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "settings": lambda: _settings(settings),
        "folder": lambda: _folder(folder, served),
        "disk": lambda: _disk(folder, settings.min_free_disk_bytes),
        "database": lambda: _database(settings),
        "data": lambda: _data(folder),
        "port": lambda: _port(settings, served),
        "tls": lambda: _tls(settings, folder),
        "clients": lambda: _clients(settings, served),
        "clock": lambda: _clock(folder),
        "extensions": lambda: _extensions(settings.catalogs_in_database),
        "confinement": _confinement,
    }
    for name, check in checks.items():
        try:
            yield from check()
        except OSError as error:
            yield Finding(name, State.FAULT, str(error))


def _settings(settings: Settings) -> Iterator[Finding]:
    changed = [
        f"{name}={getattr(settings, name)}"
        for name, field in Settings.model_fields.items()
        if name in settings.model_fields_set and getattr(settings, name) != field.default
    ]
    yield Finding("settings", State.OK, ", ".join(changed) or "all as by default")
    for name in named_in_vain():
        yield Finding(
            "settings", State.WARNING, f"{name} is no setting", "look for its name in docs/settings.md"
        )


def _folder(folder: Path, served: int | None) -> Iterator[Finding]:
    if not folder.exists():
        above = next(parent for parent in folder.parents if parent.exists())
        writable = os.access(above, os.W_OK)
        found = f"{folder} is not there yet; the first start makes it"
        yield Finding(
            "folder",
            State.OK if writable else State.FAULT,
            found,
            None if writable else f"let this user write to {above}",
        )
        return
    yield Finding(
        "folder", State.OK, f"{folder}, " + (f"in use by process {served}" if served else "not in use")
    )
    about = folder.stat()
    if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("folder", State.WARNING, "other users may look into it", f"chmod 700 {folder}")
    if about.st_uid != os.geteuid():
        yield Finding("folder", State.WARNING, "it belongs to another user", "run this as the server's user")
    yield _hard_links(folder)


def _hard_links(folder: Path) -> Finding:
    """Staged files become part of a table by one."""
    trial, other = folder / f".doctor-{uuid4().hex}", folder / f".doctor-{uuid4().hex}"
    try:
        trial.touch(mode=0o600)
        os.link(trial, other)
        return Finding("file system", State.OK, "local, with hard links")
    except OSError as error:
        advice = "put the data folder on a local file system, writable for this user"
        return Finding("file system", State.FAULT, f"no hard links: {error.strerror}", advice)
    finally:
        trial.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def _disk(folder: Path, least: int) -> Iterator[Finding]:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free"
    if free < least:
        advice = "make room: below min_free_disk_bytes every chunk is refused (507)"
        yield Finding("disk", State.FAULT, found, advice)
    elif free < 4 * least:
        yield Finding("disk", State.WARNING, found, "make room before it is needed")
    else:
        yield Finding("disk", State.OK, found)


def _database(settings: Settings) -> Iterator[Finding]:
    if isinstance(settings.database, Path):
        return
    try:
        version = postgres_version(settings.database)
        yield Finding("database", State.OK, f"PostgreSQL {version} answers")
    except CannotOpen as error:
        yield Finding("database", State.FAULT, str(error), "set database_url right, or start the database")


def _data(folder: Path) -> Iterator[Finding]:
    path = folder / "metadata.sqlite"
    if not path.is_file():
        return
    if damage := damage_of(path):
        yield Finding("metadata", State.FAULT, damage, "restore the newest backup: headrace restore")
        return
    yield _revision(path)
    missing = list(missing_files(folder))
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        found = "; ".join(missing[:_SHOWN]) + more
        yield Finding("data", State.FAULT, found, "restore the newest backup: headrace restore")
    else:
        yield Finding("data", State.OK, "every file that the catalogs name is there")


def _revision(path: Path) -> Finding:
    here = revision_of(path)
    known = [p.name.partition("_")[0] for p in _migrations().glob("[0-9]*.py")]
    if here is None or here == max(known):
        return Finding("metadata", State.OK, f"whole, of revision {here}")
    if here in known:
        return Finding(
            "metadata", State.OK, f"of revision {here}; the next start brings them to {max(known)}"
        )
    found = f"of revision {here}, which this version does not know"
    return Finding("metadata", State.FAULT, found, "install the version of Headrace that wrote them")


def _migrations() -> Path:
    from headrace.metadata.migrations import versions  # noqa: PLC0415

    return Path(versions.__path__[0])


# -- the network ---------------------------------------------------------------------------------------


def _port(settings: Settings, served: int | None) -> Iterator[Finding]:
    where = f"{settings.host}:{settings.port}"
    if served:
        answers = _answers(settings, tls=True) or _answers(settings, tls=False)
        advice = None if answers else "name the server's port: --port, HEADRACE_PORT"
        found = f"{where} answers" if answers else f"nothing of ours answers at {where}"
        yield Finding("port", State.OK if answers else State.WARNING, found, advice)
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((settings.host, settings.port))
    except OSError as error:
        advice = "stop what uses it, or take another one: --port"
        yield Finding("port", State.FAULT, f"{where}: {error.strerror}", advice)
        return
    yield Finding("port", State.OK, f"{where} is free")


def _tls(settings: Settings, folder: Path) -> Iterator[Finding]:
    given = settings.tls_cert, settings.tls_key
    if any(given) and not all(given):
        yield Finding("TLS", State.FAULT, "tls_cert and tls_key go together: one is missing", "set both")
        return
    own = folder / "tls-cert.pem", folder / "tls-key.pem"
    certificate, key = (settings.tls_cert, settings.tls_key) if all(given) else own
    if not (settings.tls or all(given)):
        yield Finding("TLS", State.OK, "off")
    elif certificate and key and (all(given) or certificate.exists()):
        yield _certificate(certificate, key)
    else:
        yield Finding("TLS", State.OK, "the first start makes a self-signed certificate")


def _certificate(certificate: Path, key: Path) -> Finding:
    from cryptography import x509  # noqa: PLC0415

    try:
        ssl.create_default_context().load_cert_chain(certificate, key)
        until = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        advice = "set tls_cert and tls_key to PEM files that belong together"
        return Finding("TLS", State.FAULT, f"{certificate}: {error}", advice)
    found = f"{certificate}, valid until {until:%Y-%m-%d}"
    if until < now():
        return Finding("TLS", State.FAULT, found, "renew it")
    return Finding("TLS", State.WARNING if until < now() + _EXPIRES_SOON else State.OK, found)


def _clients(settings: Settings, served: int | None) -> Iterator[Finding]:
    """Scripts take any address; pycelonis makes https out of what it is given."""
    configured = settings.tls or bool(settings.tls_cert)
    https = _answers(settings, tls=True) if served else configured
    if not https:
        advice = "start with --tls, or put a proxy with TLS in front"
        yield Finding(
            "clients", State.WARNING, "scripts can reach it, pycelonis 2.x insists on https", advice
        )
    elif settings.tls_cert:
        yield Finding("clients", State.OK, "https, for scripts and pycelonis")
    else:
        advice = "for OAuth tokens of pycelonis set SSL_CERT_FILE to tls-cert.pem"
        yield Finding("clients", State.OK, "https, self-signed: pycelonis does not verify it", advice)


def _answers(settings: Settings, *, tls: bool) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # nosec B104
    if tls:
        unverified = ssl._create_unverified_context()  # we only want to hear  # nosec B323
        connection: HTTPConnection = HTTPSConnection(host, settings.port, timeout=3, context=unverified)
    else:
        connection = HTTPConnection(host, settings.port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


# -- the machine ---------------------------------------------------------------------------------------


def _clock(folder: Path) -> Iterator[Finding]:
    at = now()
    if at < _OLDEST:
        yield Finding("clock", State.FAULT, f"{at:%Y-%m-%d}", "set it: tokens, leases and versions go by it")
        return
    there = next(path for path in (folder / "metadata.sqlite", folder, *folder.parents) if path.exists())
    ahead = there.stat().st_mtime - time.time()
    if ahead > _CLOCK_S:
        advice = "set the clock: versions and leases go by it"
        yield Finding("clock", State.WARNING, f"{there} is {ahead:.0f} s ahead of the clock", advice)
    else:
        yield Finding("clock", State.OK, f"{at:%Y-%m-%d %H:%M:%S} UTC")


def _extensions(in_database: bool) -> Iterator[Finding]:
    import duckdb  # noqa: PLC0415
    from duckdb_extensions import import_extension  # noqa: PLC0415

    needed = ["ducklake", "sqlite_scanner", *(["postgres_scanner"] if in_database else [])]
    try:
        for extension in needed:
            import_extension(extension)
        with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as engine:
            for extension in needed:
                engine.execute(f"LOAD {extension}")
    except Exception as error:  # what is missing is told in many ways
        advice = "install headrace anew, with all that it depends on"
        yield Finding("extensions", State.FAULT, str(error).splitlines()[0], advice)
        return
    yield Finding("extensions", State.OK, f"DuckDB {duckdb.__version__} with {', '.join(needed)}")


def _confinement() -> Iterator[Finding]:
    found = confinement.available()
    missing = [wall for wall in confinement.WALLS if not any(have.startswith(wall) for have in found)]
    if missing:
        advice = "let only people query whom you trust, or use a Linux kernel with Landlock"
        yield Finding("confinement", State.WARNING, f"queries run without {', '.join(missing)}", advice)
    else:
        yield Finding("confinement", State.OK, ", ".join(found))
