"""A certificate for AWS's host names, from an authority that signs once and is then forgotten."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 90
_DAYS_LEFT = 7

# A wildcard stands for one label, so each service that puts names before its own needs one.
_PREFIXED = ("s3", "s3-control", "s3-accesspoint", "ddb", "ecr", "dkr.ecr", "eks")


def names(regions: Iterable[str]) -> list[str]:
    """Patterns of the hosts at which AWS's services are called from these regions."""
    found = ["*.amazonaws.com", "*.s3.amazonaws.com"]
    for region in sorted(set(regions)):
        found.append(f"*.{region}.amazonaws.com")
        found += [f"*.{service}.{region}.amazonaws.com" for service in _PREFIXED]
    return found


def covers(patterns: Iterable[str], host: str) -> bool:
    """Whether a TLS client would take a certificate with these names for this host."""
    _, _, parent = host.lower().partition(".")
    return bool(parent) and f"*.{parent}" in patterns


@dataclass(frozen=True)
class Certificates:
    authority: Path
    server: Path
    key: Path


def ensure(directory: Path, regions: Iterable[str]) -> Certificates:
    """Those of the directory, made anew where they are missing, too old, or of other names."""
    made = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    wanted = names(regions)
    if not _good(made, wanted):
        _make(made, wanted)
    return made


def _good(made: Certificates, wanted: list[str]) -> bool:
    if not (made.authority.exists() and made.key.exists()):
        return False
    try:
        server = x509.load_pem_x509_certificate(made.server.read_bytes())
        held = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    least = _now() + datetime.timedelta(days=_DAYS_LEFT)
    return held.get_values_for_type(x509.DNSName) == wanted and server.not_valid_after_utc > least


def _make(made: Certificates, wanted: list[str]) -> None:
    issuer = _name("Strongroom's emulated AWS")
    issuer_key = ec.generate_private_key(ec.SECP256R1())
    authority = (
        _builder(issuer, issuer, issuer_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    server = (
        _builder(issuer, _name("emulated AWS"), key.public_key())
        .add_extension(x509.SubjectAlternativeName(map(x509.DNSName, wanted)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    # The authority's key is kept nowhere: nobody can sign another name with it.
    write_private(made.key, _private_pem(key))
    write_private(made.authority, authority.public_bytes(serialization.Encoding.PEM))
    write_private(made.server, server.public_bytes(serialization.Encoding.PEM))


def write_private(file: Path, content: bytes) -> None:
    """Whole or not at all, and for the owner's eyes only."""
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    draft.replace(file)


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = _now()
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
