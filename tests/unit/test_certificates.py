"""The self-signed certificate, in real handshakes."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from headrace.certificates import self_signed
from headrace.model import now


def shake_hands(certificate: Path, key: Path, name: str) -> None:
    """A client that trusts the certificate calls the server by this name. Raises SSLError."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "localhost", "headrace.example"])
def test_it_is_good_for(tmp_path: Path, name: str) -> None:
    shake_hands(*self_signed(tmp_path, "headrace.example"), name)


@pytest.mark.parametrize("host", ["10.1.2.3", "fe80::1", "0.0.0.0"])
def test_a_host_may_be_an_address(tmp_path: Path, host: str) -> None:
    shake_hands(*self_signed(tmp_path, host), host)


def test_it_is_not_good_for_others(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(*self_signed(tmp_path, "headrace.example"), "other.example")


def test_it_is_made_once(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    before = certificate.read_bytes(), key.read_bytes()
    assert self_signed(tmp_path, "127.0.0.1") == (certificate, key)
    assert (certificate.read_bytes(), key.read_bytes()) == before


@pytest.mark.parametrize("lost", [0, 1])
def test_half_of_it_is_made_anew(tmp_path: Path, lost: int) -> None:
    self_signed(tmp_path, "127.0.0.1")[lost].unlink()
    shake_hands(*self_signed(tmp_path, "127.0.0.1"), "localhost")


def test_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    _, key = self_signed(tmp_path, "127.0.0.1")
    assert key.stat().st_mode & 0o777 == 0o600


def test_it_is_valid_now_and_for_years(tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(self_signed(tmp_path, "127.0.0.1")[0].read_bytes())
    assert certificate.not_valid_before_utc < now() < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc > now() + timedelta(days=9 * 365)
