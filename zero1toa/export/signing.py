"""Sign pictures and videos by C2PA, whose Content Credentials bind a file's pixels to who says what of them.

The certificate is the user's own. Nothing is sent anywhere: without a time stamp of an authority, a signature counts as
long as its certificate does. Needs c2pa-python (requirements-c2pa.txt).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zero1toa.media import replacing
from zero1toa.provenance import DIGITAL_SOURCE_TYPE, Provenance
from zero1toa.types import InputError

# What we write and C2PA can sign.
SIGNABLE = (".png", ".jpg", ".jpeg", ".webp", ".mp4", ".mov", ".m4v")
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate with those it follows from, and its key, as PEM; and C2PA's name of the algorithm they are for."""

    certificates: bytes
    key: bytes
    algorithm: str


def read_credentials(certificate: Path, key: Path) -> Credentials:
    """Read a chain of certificates, the signer's first, and the key of that; raises InputError for what cannot sign."""
    if importlib.util.find_spec("c2pa") is None:
        raise InputError("signing needs c2pa-python: pip install -r requirements-c2pa.txt")
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    chain, secret = _read(certificate), _read(key)
    try:
        first = load_pem_x509_certificates(chain)[0].public_key()
    except ValueError as error:
        raise InputError(f"{certificate.name} is no certificate: use a chain of them in PEM, the signer's first") from error
    try:
        private = load_pem_private_key(secret, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise InputError(f"{key.name} is no key that can be read: use a private key in PEM without a password") from error
    public = lambda one: one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public(first) != public(private.public_key()):
        raise InputError(f"{key.name} is not the key of {certificate.name}: the signer's certificate has to come first")
    return Credentials(chain, secret, _algorithm(private, key))


def check_signable(path: Path) -> None:
    """Raise InputError unless C2PA signatures fit into files of such a name."""
    if path.suffix.lower() not in SIGNABLE:
        raise InputError(f"{path.name} cannot carry a C2PA signature: sign pictures (png, jpg, webp) and videos (mp4)")


def sign(path: Path, provenance: Provenance, credentials: Credentials) -> None:
    """Put a signed manifest into a file, all at once or not at all; raises InputError when C2PA refuses it."""
    import c2pa

    check_signable(path)
    signer_info = c2pa.C2paSignerInfo(credentials.algorithm, credentials.certificates, credentials.key, None)
    with replacing(path) as partial:
        try:
            with c2pa.Signer.from_info(signer_info) as signer, c2pa.Builder(_manifest(path, provenance)) as builder:
                builder.sign_file(path, partial, signer)
        except c2pa.C2paError as error:
            raise InputError(
                f"{path.name} is written, but C2PA does not sign it ({error}): use a certificate for signing that is valid "
                "now, with those it follows from"
            ) from error


def _manifest(path: Path, provenance: Provenance) -> dict[str, Any]:
    """Claim that the file was created by generative means, and how."""
    agent = {"name": "zero1toa", "version": provenance.version}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": agent,
        "description": provenance.comment(),
    }
    return {
        "title": path.name,
        "claim_generator_info": [agent],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }


def _algorithm(private: Any, key: Path) -> str:
    """Give C2PA's name of what a key signs by."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise InputError(f"{key.name} is a key that C2PA does not know: use ECDSA (P-256, P-384, P-521), RSA or Ed25519")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
