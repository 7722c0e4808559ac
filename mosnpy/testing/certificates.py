"""Certificates for tests: an authority in a folder, and what it issues. Keys are elliptic, made in a millisecond."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, as files."""

    certificate: Path
    key: Path

    @property
    def config(self) -> dict[str, str]:
        return {"certificate": str(self.certificate), "key": str(self.key)}

    def load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """A certificate authority. `file` is its certificate."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._name, self._count = folder, _name(name), 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        builder = _builder(self._name, self._name, self._key, now - _DAY, now + 365 * _DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        *names: str,
        subject: str = "",
        rsa_key: bool = False,
        days: float = 30,
        file: str = "",
        usage: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    ) -> Pair:
        """For DNS names, IP addresses and URIs alike. With `file` an earlier pair of that name is replaced."""
        self._count += 1
        key: Key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        first = names[0] if names else "nobody"
        builder = _builder(_name(subject or first), self._name, key, now - _DAY, now + days * _DAY)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        stem = file or f"{self._count}"
        pair = Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        _replace(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        _replace(pair.key, key.private_bytes(pem, form, serialization.NoEncryption()))
        return pair

    def revoke(self, *pairs: Pair, days: float = 30, file: str = "crl") -> Path:
        """A list of these certificates as revoked, valid for so long; an earlier one of the name is replaced."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now - _DAY).next_update(now + days * _DAY)
        for pair in pairs:
            serial = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - _DAY).build()
            )
        path = self.folder / f"{file}.pem"
        _replace(path, builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def client(self, pair: Pair | None = None, *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A client's context that trusts this authority, showing `pair`; `version`: that one only."""
        context = ssl.create_default_context(cafile=self.file)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return pair.load(context) if pair is not None else context

    def server(self, pair: Pair, *, version: ssl.TLSVersion | None = None, ask: bool = False) -> ssl.SSLContext:
        """A server's context showing `pair`; `ask`: it demands certificates of this authority."""
        context = pair.load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.file))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if ask:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, start: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)


def _replace(path: Path, data: bytes) -> None:
    """As certificate tools do it: the new file takes the old one's place at once."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    fresh.rename(path)
