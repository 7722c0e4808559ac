"""Connections of health checks: plain or with TLS, as the upstream says."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosnpy.config.glob import glob_matches

__all__ = ["Target", "TlsSettings", "WrongNameError", "connect"]


class WrongNameError(OSError):
    """The endpoint's certificate is good, but for somebody else."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What an upstream asks of its endpoints' certificates, and shows of its own; as in the plan."""

    ca: str | None
    crl: str | None
    sni: str | None
    names: tuple[str, ...]
    certificate: str | None
    key: str | None
    verify: bool
    least: int
    most: int
    alpn: tuple[str, ...]

    @classmethod
    def of(cls, plan: Mapping[str, Any] | None) -> TlsSettings | None:
        """From the plan's `tls` of an upstream."""
        if plan is None:
            return None
        return cls(
            plan["ca"], plan["crl"], plan["sni"], tuple(plan["names"]), plan["certificate"], plan["key"], plan["verify"],
            plan["min"], plan["max"], tuple(plan["alpn"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    family: str  # ipv4, ipv6, unix
    host: str  # numeric address or path
    port: int
    tls: TlsSettings | None = None


async def connect(target: Target, limit: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """limit: most bytes the reader keeps. Raises OSError; ssl.SSLError is one."""
    more: dict[str, Any] = {}
    if target.tls is not None:
        more = {"ssl": _context(target.tls, _stamps(target.tls)), "server_hostname": target.tls.sni or ""}
    if target.family == "unix":
        reader, writer = await asyncio.open_unix_connection(target.host, limit=limit, **more)
    else:
        reader, writer = await asyncio.open_connection(target.host, target.port, limit=limit, **more)
    if target.tls is not None and target.tls.verify and target.tls.names:
        certificate = writer.get_extra_info("peercert") or {}
        names = [(str(kind), str(name)) for kind, name in certificate.get("subjectAltName", ())]
        if not any(_fits(pattern, names) for pattern in target.tls.names):
            writer.close()
            raise WrongNameError(f"its certificate is for {', '.join(name for _, name in names[:5]) or 'nobody'}")
    return reader, writer


def _stamps(tls: TlsSettings) -> tuple[int, ...]:
    """Files that were replaced are read again."""
    files = (tls.ca, tls.crl, tls.certificate, tls.key)
    return tuple(os.stat(name).st_mtime_ns for name in files if name is not None and name != "system")


@functools.lru_cache(maxsize=64)
def _context(tls: TlsSettings, stamps: tuple[int, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # names are globs, see connect()
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    context.minimum_version, context.maximum_version = ssl.TLSVersion(tls.least), ssl.TLSVersion(tls.most)
    if tls.verify and tls.ca == "system":
        context.load_default_certs()
    elif tls.verify and tls.ca is not None:
        context.load_verify_locations(tls.ca)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # any certificate of the file is an anchor
    if tls.verify and tls.crl is not None:
        context.load_verify_locations(tls.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context


def _fits(pattern: str, names: list[tuple[str, str]]) -> bool:
    """As tls_name_fits() of csrc/core/tls_names.c: a glob over the certificate's names of one type, or one name, which a wildcard
    of the certificate may stand for. names: (type, name), types as Python's ssl calls them."""
    hosts = [name.lower() for kind, name in names if kind == "DNS"]
    uris = [name for kind, name in names if kind == "URI"]
    if set("*?[") & set(pattern):
        of_uris = bool(set(":/") & set(pattern))
        fitting = uris if of_uris else [*hosts, *uris] if not pattern.strip("*") else hosts
        return any(glob_matches(pattern, name) for name in fitting)
    if "://" in pattern:
        return pattern in uris
    wanted = pattern.lower().rstrip(".")
    _, _, parent = wanted.partition(".")
    if any(kind == "IP Address" and _same(wanted, name) for kind, name in names):
        return True
    return any(name in (wanted, parent and f"*.{parent}") for name in hosts)


def _same(wanted: str, name: str) -> bool:
    try:
        return ipaddress.ip_address(wanted) == ipaddress.ip_address(name)
    except ValueError:
        return False
