"""Certificates for edges and clouds: an authority of one's own, keys, contexts.

Both sides show a certificate of the same private authority, over TLS 1.3: an edge knows
that it talks to the cloud of that name, and the cloud knows which edge asks. Made by
`trimtab certs` for tests and small fleets; a larger one has tools for that, whose PEM
files serve as well.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trimtab.errors import MissingExtraError, UsageError

__all__ = ["client", "make", "server"]

AUTHORITY: Final = "ca"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
_SECRET: Final = 0o600


def make(
    folder: Path, names: Sequence[str], *, days: int = 365, hosts: Sequence[str] = ()
) -> list[Path]:
    """Write an authority if there is none, and a certificate with its key for each.

    Files are ``NAME.pem`` and ``NAME.key``, keys readable by their owner alone; the
    authority's key, ``ca.key``, is what to keep apart.

    Args:
        folder: is made if it is not there.
        names: of nodes, such as ``cloud`` and ``edge-1``.
        days: that certificates hold.
        hosts: further names and addresses of each, as others reach it.

    Returns:
        What was written.

    Raises:
        UsageError: a name that is none, one that is there already, or no days.
        MissingExtraError: cryptography is not installed.
    """
    x509, hashes, serialization, ec = _library()
    if days < 1:
        raise UsageError(
            f"certificates for {days} days",
            rule="they hold one day at least",
            where="trimtab certs",
            remedy="give 365",
        )
    for name in names:
        if not _NAME.fullmatch(name) or name == AUTHORITY:
            raise UsageError(
                f"a certificate for {name!r}",
                rule="a name has letters, digits, dots and hyphens, and is not ca",
                where="trimtab certs",
                remedy="give names such as cloud and edge-1",
            )
        if (folder / f"{name}.pem").exists() or (folder / f"{name}.key").exists():
            raise UsageError(
                f"a certificate for {name!r}",
                rule="there is one already",
                where=str(folder),
                remedy="take another name, or remove its .pem and .key",
            )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(days=days)
    written: list[Path] = []

    def put(path: Path, content: bytes, mode: int) -> None:
        draft = path.with_name(f".{path.name}.making")
        draft.touch(mode=mode)
        draft.write_bytes(content)
        draft.chmod(mode)
        draft.replace(path)
        written.append(path)

    def key_of(name: str) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        put(
            folder / f"{name}.key",
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            _SECRET,
        )
        return key

    def subject(name: str) -> Any:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

    def signed(builder: Any, key: Any) -> Any:
        return (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(until)
            .sign(key, hashes.SHA256())
        )

    root_pem, root_key = folder / f"{AUTHORITY}.pem", folder / f"{AUTHORITY}.key"
    if root_pem.exists() and root_key.exists():
        authority = serialization.load_pem_private_key(root_key.read_bytes(), None)
        root = x509.load_pem_x509_certificate(root_pem.read_bytes())
    else:
        authority = key_of(AUTHORITY)
        root = signed(
            x509.CertificateBuilder()
            .subject_name(subject("trimtab authority"))
            .issuer_name(subject("trimtab authority"))
            .public_key(authority.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(authority.public_key()),
                critical=False,
            ),
            authority,
        )
        put(root_pem, root.public_bytes(serialization.Encoding.PEM), 0o644)
    for name in names:
        key = key_of(name)
        other = [_host(x509, each) for each in (name, *hosts)]
        found = signed(
            x509.CertificateBuilder()
            .subject_name(subject(name))
            .issuer_name(root.subject)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.SubjectAlternativeName(other), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    authority.public_key()
                ),
                critical=False,
            ),
            authority,
        )
        put(
            folder / f"{name}.pem",
            found.public_bytes(serialization.Encoding.PEM),
            0o644,
        )
    return written


def server(folder: Path, name: str) -> ssl.SSLContext:
    """Return the context of a cloud: it asks every edge for a certificate.

    Args:
        folder: with ``ca.pem``, ``NAME.pem`` and ``NAME.key``.
        name: of the node.

    Raises:
        UsageError: a file is missing or no PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _filled(context, folder, name)


def client(folder: Path, name: str) -> ssl.SSLContext:
    """Return the context of an edge: it asks the cloud for a certificate of its name.

    Arguments and errors are those of `server`.
    """
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), folder, name)


def _filled(context: ssl.SSLContext, folder: Path, name: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(folder / f"{AUTHORITY}.pem")
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"certificate of {name!r}",
            rule=error.strerror or str(error),
            where=str(folder),
            remedy=f"make it with: trimtab certs {folder} --name {name}",
        ) from error
    return context


def _host(x509: Any, name: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _library() -> tuple[Any, Any, Any, Any]:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise MissingExtraError(
            "making certificates",
            rule="cryptography is not installed",
            where="trimtab certs",
            remedy='pip install "trimtab[edge]", or use certificates of your own',
        ) from None
    return x509, hashes, serialization, ec
