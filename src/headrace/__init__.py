"""Headrace: a self-hosted server that speaks the Celonis Data Push API."""

__version__ = "0.1.0"
