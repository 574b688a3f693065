"""Which server is meant, and with which key: the environment, the file of profiles, the system's keyring.

``HEADRACE_URL`` and ``HEADRACE_KEY`` come first, then the profile that is named (or the default one) in
``~/.config/headrace/config.toml``, then the keyring. A key belongs to the server that it was stored for: it
is never sent to another one.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SERVICE = "headrace"
"""The name under which the keyring keeps our keys; the user is the server's URL."""


class NoProfile(Exception):
    """It is not known which server is meant, or the key for it is not."""


@dataclass(frozen=True)
class Profile:
    """A server, the key for it, and what is usual there.

    ``verify``: False takes any certificate, a path is that of the certificates to trust. ``pool``: the one
    that is meant where none is named.
    """

    name: str
    url: str
    key: str | None = None
    verify: bool | str = True
    pool: str | None = None

    def __repr__(self) -> str:
        return f"Profile({self.name!r}, {self.url!r})"  # a key has no place in any message


def config_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "headrace" / "config.toml"


def stored() -> dict[str, Profile]:
    """All profiles of the file, by name. Raises NoProfile when it cannot be read."""
    profiles = _read().get("profiles", {})
    try:
        return {name: _profile(name, fields) for name, fields in profiles.items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise NoProfile(f"{config_file()} is not as 'headrace login' writes it.") from error


def chosen(name: str | None = None) -> Profile:
    """The server that is meant, with its key. Raises NoProfile."""
    name = name or os.environ.get("HEADRACE_PROFILE")
    profile = _named(name) if name else _from_environment() or _default()
    key = profile.key or _from_keyring(profile.url)
    if not key:
        raise NoProfile(f"No key is known for {profile.url}.")
    return replace(profile, key=checked_key(key), url=checked_url(profile.url))


def _named(name: str) -> Profile:
    profiles = stored()
    if name not in profiles:
        known = ", ".join(profiles) or "none"
        raise NoProfile(f"There is no profile '{name}' in {config_file()} (known: {known}).")
    return profiles[name]


def _from_environment() -> Profile | None:
    url, key = os.environ.get("HEADRACE_URL"), os.environ.get("HEADRACE_KEY")
    if not url:
        return replace(_default(), key=key) if key else None
    url = checked_url(url)
    # what is stored for this very server holds for it, whoever names it
    known = next((p for p in stored().values() if p.url == url), Profile("environment", url))
    return replace(known, key=key or known.key)


def _default() -> Profile:
    profiles = stored()
    name = _read().get("default") or next(iter(profiles), None)
    if name not in profiles:
        raise NoProfile("It is not known which server is meant.")
    return profiles[name]


# -- storing -------------------------------------------------------------------------------------------


def store(profile: Profile, *, default: bool, in_keyring: bool) -> None:
    """Put a profile into the file, which nobody else may read; its key into the keyring if so."""
    content = _read()
    fields = {"url": profile.url, "key": profile.key, "verify": profile.verify, "pool": profile.pool}
    if in_keyring:
        _keyring().set_password(_SERVICE, profile.url, profile.key)
        del fields["key"]
    said = {name: value for name, value in fields.items() if value not in (None, True)}
    content.setdefault("profiles", {})[profile.name] = said
    if default or "default" not in content:
        content["default"] = profile.name
    _write(content)


def forget(name: str) -> None:
    """Take a profile out of the file, and its key out of the keyring. Raises NoProfile."""
    profile, content = _named(name), _read()
    del content["profiles"][name]
    if content.get("default") == name:
        del content["default"]
    _write(content)
    if not profile.key:
        _keyring().delete_password(_SERVICE, profile.url)


def readable_by_others() -> bool:
    """Whether the file of profiles is open to other users of the machine."""
    try:
        return bool(config_file().stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


def _read() -> dict[str, Any]:
    try:
        return tomllib.loads(config_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # their words may quote a key
        raise NoProfile(f"{config_file()} cannot be read: {type(error).__name__}.") from None


def _write(content: Mapping[str, Any]) -> None:
    import tomli_w  # noqa: PLC0415  only who logs in needs it

    path = config_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = path.with_suffix(".new")
    whole.unlink(missing_ok=True)
    handle = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(tomli_w.dumps(content))
    whole.replace(path)


def _profile(name: str, fields: Mapping[str, Any]) -> Profile:
    return Profile(name, fields["url"], fields.get("key"), fields.get("verify", True), fields.get("pool"))


# -- keys ----------------------------------------------------------------------------------------------


def checked_url(url: str) -> str:
    """Without what may follow the host's path. Raises NoProfile."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoProfile("The URL of a server begins with http:// or https://.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise NoProfile("The URL of a server has no user, password or query: a key does not belong there.")
    return url.rstrip("/")


def checked_key(key: str) -> str:
    """Fit for a header. Raises NoProfile, without a word of the key."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or not key or " " in key:
        raise NoProfile("The key is none: it has blanks, or other letters than a key has.")
    return key


def _from_keyring(url: str) -> str | None:
    try:
        found: str | None = _keyring().get_password(_SERVICE, url)
    except NoProfile:
        return None
    except Exception:  # a locked keyring, a service that is not running: each backend has its own
        return None
    return found


def _keyring() -> Any:
    try:
        import keyring  # noqa: PLC0415  an extra
    except ImportError as error:
        raise NoProfile("The keyring needs an extra: pip install 'headrace[keyring]'.") from error
    return keyring
