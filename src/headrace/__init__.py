"""Headrace: a self-hosted server that speaks the Celonis Data Push API."""

from __future__ import annotations

from typing import Any

__version__ = "0.4.0"
__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """``Client`` when it is first asked for: the server has no use for it."""
    if name == "Client":
        from headrace.client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module 'headrace' has no attribute '{name}'")
