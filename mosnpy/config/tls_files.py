"""The files of `tls:` blocks: whether they are there, are what they should be, and belong together.

The data plane reads them again when a plan is built. Here their faults get a place in the configuration, and relative
paths become absolute ones: they start at the file they stand in, not where a process happens to run.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from typing import TYPE_CHECKING, Any

from mosnpy.config.tls import ChainTls, ClientTls

if TYPE_CHECKING:
    from collections.abc import Callable

    from mosnpy.config.loader import Document
    from mosnpy.config.tls import Certificate

__all__ = ["check_tls", "tls_files"]

Path = tuple[str | int, ...]

_NAMED = ("certificate", "key", "ca", "crl", "client_ca", "client_crl")
_LARGEST = 16 << 20
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")  # the last: RSA beside ECDSA
_SOON = 7 * 86_400  # seconds: an expiry this near is worth a warning


def check_tls(document: Document, path: Path, tls: ChainTls | ClientTls) -> None:
    """Adds the faults of a `tls:` block at `path` to the document, and makes the block's paths absolute."""
    files = _Files(document)
    if isinstance(tls, ClientTls):
        if tls.certificate is not None:
            files.identity(path, tls)
        if tls.ca is not None and tls.ca != "system":
            tls.ca = files.absolute((*path, "ca"), tls.ca)
            files.authorities((*path, "ca"), tls.ca)
        if tls.crl is not None:
            tls.crl = files.absolute((*path, "crl"), tls.crl)
            files.revoked((*path, "crl"), tls.crl)
        return
    if tls.certificates is not None:
        for i, each in enumerate(tls.certificates):
            files.identity((*path, "certificates", i), each)
    else:
        files.identity(path, tls)
    if tls.client_ca is not None:
        tls.client_ca = files.absolute((*path, "client_ca"), tls.client_ca)
        files.authorities((*path, "client_ca"), tls.client_ca)
    if tls.client_crl is not None:
        tls.client_crl = files.absolute((*path, "client_crl"), tls.client_crl)
        files.revoked((*path, "client_crl"), tls.client_crl)
    if tls.ciphers is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(tls.ciphers)
        except ssl.SSLError:
            document.fault((*path, "ciphers"), f"OpenSSL knows no cipher of {tls.ciphers!r}")


def tls_files(tls: ChainTls | ClientTls | None) -> list[str]:
    """Every file a checked block names: a change of one of them calls for a new plan."""
    if tls is None:
        return []
    parts: list[Any] = [tls, *(getattr(tls, "certificates", None) or ())]
    names = [getattr(part, name, None) for part in parts for name in _NAMED]
    return [name for name in names if name is not None and name != "system"]


class _Files:
    def __init__(self, document: Document) -> None:
        self.document = document

    def absolute(self, path: Path, name: str) -> str:
        place = self.document.place(path)
        base = os.path.dirname(place.file) if place is not None else ""
        return os.path.abspath(os.path.join(base, os.path.expanduser(name)))

    def identity(self, path: Path, pair: Certificate | ChainTls | ClientTls) -> None:
        """A certificate and its key."""
        assert pair.certificate is not None
        at, at_key = (*path, "certificate"), (*path, "key" if pair.key is not None else "certificate")
        pair.certificate = self.absolute(at, pair.certificate)
        if pair.key is not None:
            pair.key = self.absolute(at_key, pair.key)
        certificate, key = pair.certificate, pair.key or pair.certificate
        whole = self.pem(at, certificate, "CERTIFICATE-----", "certificate")
        secret = self.pem(at_key, key, "PRIVATE KEY-----", "private key")
        if whole is None or secret is None:
            return
        if "ENCRYPTED" in secret:
            message = f"{_short(key)} has a passphrase, which nobody is there to type: store the key without one"
            self.document.fault(at_key, message)
            return
        if not self.certificates(at, certificate, whole):
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
        except ssl.SSLError as error:
            if error.reason in _MISMATCHES:
                self.document.fault(at_key, f"{_short(key)} is not the key of the certificate in {_short(certificate)}")
            else:
                self.document.fault(at_key, f"{_short(key)} can't be used: {_reason(error)}")
            return
        self.dates(at, certificate)

    def authorities(self, path: Path, name: str) -> None:
        """Certificates of CAs."""
        whole = self.pem(path, name, "CERTIFICATE-----", "certificate")
        if whole is not None:
            self.certificates(path, name, whole)

    def revoked(self, path: Path, name: str) -> None:
        """Lists of revoked certificates."""
        if self.pem(path, name, "X509 CRL-----", "list of revoked certificates") is None:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(name)
        except (ssl.SSLError, ValueError) as error:
            self.document.fault(path, f"{_short(name)} has a broken list of revoked certificates: {_reason(error)}")

    def certificates(self, path: Path, name: str, whole: str) -> bool:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_only_certificates(whole))
        except (ssl.SSLError, ValueError) as error:
            self.document.fault(path, f"{_short(name)} has a broken certificate: {_reason(error)}")
            return False
        return True

    def pem(self, path: Path, name: str, mark: str, what: str) -> str | None:
        """The text of a file that must have a PEM block of a kind; None with a fault."""
        try:
            with open(name, "rb") as file:
                text = file.read(_LARGEST).decode("latin-1")
        except OSError as error:
            self.document.fault(path, f"can't read {_short(name)}: {error.strerror or error}")
            return None
        if mark not in text:
            found = (
                "it has a certificate" if "CERTIFICATE-----" in text else "it has a key" if "KEY-----" in text else ""
            )
            hint = f": {found}" if found else ": it is not PEM" if "-----BEGIN" not in text else ""
            self.document.fault(path, f"{_short(name)} has no {what}{hint}")
            return None
        return text

    def dates(self, path: Path, name: str) -> None:
        """Warnings for a certificate that is not valid now, or not for long."""
        decode: Callable[[str], dict[str, Any]] | None = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
        if decode is None:
            return
        found: dict[str, Any] = {}
        with contextlib.suppress(Exception):
            found = decode(name)
        if "notAfter" not in found or "notBefore" not in found:
            return
        now, end = time.time(), ssl.cert_time_to_seconds(found["notAfter"])
        if end < now:
            self.document.fault(path, f"this certificate has expired on {found['notAfter']}", warning=True)
        elif ssl.cert_time_to_seconds(found["notBefore"]) > now:
            self.document.fault(path, f"this certificate is not valid before {found['notBefore']}", warning=True)
        elif end < now + _SOON:
            self.document.fault(path, f"this certificate expires on {found['notAfter']}", warning=True)


def _only_certificates(text: str) -> str:
    blocks: list[str] = []
    for part in text.split("-----BEGIN ")[1:]:
        if part.startswith(("CERTIFICATE-----", "TRUSTED CERTIFICATE-----")):
            head, end, _ = part.partition("-----END CERTIFICATE-----")
            blocks.append(f"-----BEGIN {head}{end}\n")
    return "".join(blocks)


def _short(name: str) -> str:
    """A path as an operator would write it."""
    relative = os.path.relpath(name)
    return relative if len(relative) < len(name) and not relative.startswith("..") else name


def _reason(error: Exception) -> str:
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
