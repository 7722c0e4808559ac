"""TLS of listeners and upstreams: the models. Whether the files are any good is looked at in tls_files.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from mosnpy.config.fields import Model, Text

__all__ = ["Certificate", "ChainTls", "ClientTls", "ServerTls"]


def _version(value: object) -> object:
    return str(value) if value in (1.2, 1.3) and isinstance(value, float) else value  # 1.2 is a number in YAML


Version = Annotated[Literal["1.2", "1.3"], BeforeValidator(_version)]
_NUMBERS = {"1.2": 0x0303, "1.3": 0x0304}

ServerName = Annotated[
    str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$", to_lower=True)
]
"""A host name, or `*.` and one."""


def _lower_host(text: str) -> str:
    return text if set(":/") & set(text) else text.lower()  # as the names of certificates are compared


NamePattern = Annotated[Text, AfterValidator(_lower_host)]
"""A glob over names of certificates."""


class Certificate(Model):
    """A certificate and its key."""

    certificate: Text
    """PEM file: the certificate, then the intermediate ones up to the CA's own."""
    key: Text | None = None
    """PEM file of its private key, without a passphrase; without this key it stands in the certificate's file."""
    names: list[ServerName] = Field(default_factory=list)
    """Server names (SNI) it is for; those in the certificate, if there are none here."""

    def plan(self) -> dict[str, Any]:
        """As the plan has it."""
        return {"certificate": self.certificate, "key": self.key or self.certificate, "names": self.names}


class ChainTls(Model):
    """TLS towards clients."""

    certificate: Text | None = None
    """PEM file: the certificate, then the intermediate ones. Relative paths start at the file this stands in."""
    key: Text | None = None
    """PEM file of its private key, without a passphrase; without this key it stands in the certificate's file."""
    certificates: Annotated[list[Certificate], Field(min_length=1, max_length=10_000)] | None = None
    """Several, instead of `certificate` and `key`: the client's server name (SNI) picks one, the first is for all other names."""
    client_certificate: Literal["off", "optional", "required"] = "off"
    """Whether clients are asked for a certificate; one that is shown must be from `client_ca` in any case."""
    client_ca: Text | None = None
    """PEM file of the CAs that clients' certificates are from."""
    client_crl: Text | None = None
    """PEM file of lists of revoked certificates (CRL), a valid one of each CA: clients whose certificate is in them are refused."""
    client_names: list[NamePattern] = Field(default_factory=list)
    """Globs such as "spiffe://td/ns/*": one of the names (SAN) in the client's certificate must fit one of them. Those with `:` or `/` are for URIs, others for host names, "*" alone for both."""
    min_version: Version = "1.2"
    """Oldest version of TLS that is spoken."""
    max_version: Version = "1.3"
    """Newest version of TLS that is spoken."""
    ciphers: Text | None = None
    """Ciphers of TLS 1.2 in OpenSSL's form, such as "ECDHE+AESGCM"; ECDHE with AEAD, AES-128 first, without it."""
    session_tickets: bool = True
    """Lets clients resume sessions, which saves them and the proxy most of a handshake."""
    alpn: list[Annotated[str, StringConstraints(min_length=1, max_length=255)]] | None = None
    """Protocols offered in the handshake (ALPN), best first. Default: h2 and http/1.1 as the listener speaks them."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.certificate is not None and self.certificates is not None:
            raise ValueError("either `certificate` (and `key`) or `certificates`, not both")
        if self.certificate is None and self.certificates is None:
            raise ValueError("TLS needs a certificate: give `certificate` and `key`, or `certificates`")
        if self.key is not None and self.certificate is None:
            raise ValueError("`key` belongs to `certificate`; each of `certificates` has its own")
        if self.client_certificate == "off":
            for name in ("client_ca", "client_crl", "client_names"):
                if getattr(self, name):
                    raise ValueError(f"{name} has no effect while client_certificate is off")
        elif self.client_ca is None:
            raise ValueError(f"client_certificate: {self.client_certificate} needs client_ca, the CAs to check against")
        _check_versions(self.min_version, self.max_version)
        return self

    def pairs(self) -> list[Certificate]:
        """The certificates, the default first."""
        if self.certificates is not None:
            return self.certificates
        assert self.certificate is not None
        return [Certificate.model_construct(certificate=self.certificate, key=self.key, names=[])]

    def plan(self, mode: str, alpn: list[str]) -> dict[str, Any]:
        """As the plan has it. alpn: what is offered unless `alpn` says otherwise."""
        return {
            "mode": mode,
            "certificates": [each.plan() for each in self.pairs()],
            "client": self.client_certificate,
            "client_ca": self.client_ca,
            "client_crl": self.client_crl,
            "client_names": self.client_names,
            "min": _NUMBERS[self.min_version],
            "max": _NUMBERS[self.max_version],
            "ciphers": self.ciphers,
            "tickets": self.session_tickets,
            "alpn": alpn if self.alpn is None else self.alpn,
        }


class ServerTls(ChainTls):
    """TLS towards clients."""

    mode: Literal["terminate", "permissive"] = "terminate"
    """terminate: TLS only; permissive: TLS and plaintext on the same port."""


class ClientTls(Model):
    """TLS towards the endpoints. {} = TLS with the system's CAs."""

    ca: Text | None = None
    """PEM file of the CAs the endpoints' certificates are from, or `system`, the default. Relative paths start at the file this stands in."""
    crl: Text | None = None
    """PEM file of lists of revoked certificates (CRL), a valid one of each CA: endpoints whose certificate is in them are refused."""
    sni: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$")] | None = None
    """Server name sent in the handshake. Default: the endpoint's host name, where it has one."""
    names: list[NamePattern] = Field(default_factory=list)
    """Globs: one of the names (SAN) in the endpoint's certificate must fit one of them. Those with `:` or `/` are for URIs, others for host names, "*" alone for both. Default: `sni`."""
    certificate: Text | None = None
    """PEM file of the proxy's own certificate, shown to endpoints that ask for one."""
    key: Text | None = None
    """PEM file of its private key, without a passphrase; without this key it stands in the certificate's file."""
    verify: bool = True
    """false: any certificate will do, which is no protection against whoever sits between."""
    min_version: Version = "1.2"
    """Oldest version of TLS that is spoken."""
    max_version: Version = "1.3"
    """Newest version of TLS that is spoken."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.key is not None and self.certificate is None:
            raise ValueError("`key` belongs to `certificate`, which is missing")
        if not self.verify:
            for name in ("ca", "crl", "names"):
                if getattr(self, name):
                    raise ValueError(f"{name} has no effect with verify: false")
        _check_versions(self.min_version, self.max_version)
        return self

    def plan(self, sni: str | None, alpn: list[str]) -> dict[str, Any]:
        """As the plan has it. sni: the server name unless `sni` says otherwise."""
        name = self.sni or sni
        return {
            "ca": (self.ca or "system") if self.verify else None,
            "crl": self.crl,
            "sni": name,
            "names": self.names or ([name] if name and self.verify else []),
            "certificate": self.certificate,
            "key": (self.key or self.certificate) if self.certificate else None,
            "verify": self.verify,
            "min": _NUMBERS[self.min_version],
            "max": _NUMBERS[self.max_version],
            "alpn": alpn,
        }


def _check_versions(least: str, most: str) -> None:
    if least > most:
        raise ValueError(f"min_version ({least}) is newer than max_version ({most})")
