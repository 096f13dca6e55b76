"""Signatures by C2PA: a verifier that trusts the certificate believes the file, and no longer once a byte of it changed."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pytest

from tests.avatars import astronaut_avatar
from zero1toa import cli, media
from zero1toa.export.signing import read_credentials, sign
from zero1toa.provenance import DIGITAL_SOURCE_TYPE, Provenance
from zero1toa.types import InputError

c2pa = pytest.importorskip("c2pa", reason="needs c2pa-python: pip install -r requirements-c2pa.txt")
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: E402

KEYS = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
MADE = Provenance("9.8", "2026-01-02T03:04:05+00:00", "projection", "preview", "head anny, seed 3")


class Authority:
    """Somebody who issues certificates for signing."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Authority of this test")])
        self.certificate = self._issue(self.name, self.key.public_key(), True)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def give(self, folder: Path, algorithm: str = "es256", *, days: int = 30) -> tuple[Path, Path]:
        """Write a chain and a key: (certificates, key)."""
        key = KEYS[algorithm]()
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio of this test")])
        own = self._issue(name, key.public_key(), False, days=days).public_bytes(serialization.Encoding.PEM).decode()
        plain = serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        chain, file = folder / f"chain of {algorithm}.pem", folder / f"key {algorithm}.pem"
        chain.write_text(own + self.pem)
        file.write_bytes(secret)
        return chain, file

    def _issue(self, name, public, is_authority: bool, days: int = 30) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        usage = {
            "content_commitment": False, "key_encipherment": False, "data_encipherment": False, "key_agreement": False,
            "encipher_only": False, "decipher_only": False, "crl_sign": is_authority, "key_cert_sign": is_authority,
            "digital_signature": not is_authority,
        }  # fmt: skip
        made = x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(public)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=60))
        made = made.not_valid_after(now + datetime.timedelta(days=days))
        made = made.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        made = made.add_extension(x509.KeyUsage(**usage), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        made = made.add_extension(issuer, critical=False)
        if not is_authority:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        return made.sign(self.key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def verify(path: Path, trusted: str) -> tuple[str, dict]:
    """Read a file as a verifier does that trusts an authority: (verdict, the manifest)."""
    context = c2pa.Context.from_dict({"trust": {"trust_anchors": trusted}, "verify": {"verify_trust": True}})
    with c2pa.Reader(path, context=context) as reader:
        told = json.loads(reader.json())
        return str(reader.get_validation_state()), told["manifests"][told["active_manifest"]]


def draw(path: Path) -> None:
    if path.suffix == ".mp4":
        media.write_video(path, [np.full((48, 64, 3), 30 * i, np.uint8) for i in range(4)], 10.0, provenance=MADE)
    else:
        media.write_image(path, np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8), provenance=MADE)


@pytest.mark.parametrize("name", ["ein Bild 写真.png", "a.jpg", "a.webp", "a.mp4"])
def test_who_trusts_the_certificate_believes_the_file_until_it_changes(authority, tmp_path, name):
    draw(tmp_path / name)
    sign(tmp_path / name, MADE, read_credentials(*authority.give(tmp_path)))
    verdict, manifest = verify(tmp_path / name, authority.pem)
    assert verdict == "Trusted"
    assert manifest["signature_info"]["issuer"] == "Studio of this test"
    (actions,) = [one["data"]["actions"] for one in manifest["assertions"] if one["label"].startswith("c2pa.actions")]
    assert actions[0]["action"] == "c2pa.created"
    assert actions[0]["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert actions[0]["softwareAgent"]["version"] == "9.8"
    assert "seed 3" in actions[0]["description"]
    assert verify(tmp_path / name, Authority().pem)[0] == "Valid", "a stranger sees that it is whole, but not whose it is"
    data = bytearray((tmp_path / name).read_bytes())
    place = data.rindex(b"AI-generated")
    data[place : place + 2] = b"My"
    (tmp_path / name).write_bytes(data)
    assert verify(tmp_path / name, authority.pem)[0] == "Invalid"


@pytest.mark.parametrize("algorithm", KEYS)
def test_keys_of_every_kind_sign(authority, tmp_path, algorithm):
    draw(tmp_path / "a.png")
    credentials = read_credentials(*authority.give(tmp_path, algorithm))
    assert credentials.algorithm == algorithm
    sign(tmp_path / "a.png", MADE, credentials)
    assert verify(tmp_path / "a.png", authority.pem)[0] == "Trusted"


def test_the_command_line_signs(authority, tmp_path):
    chain, key = authority.give(tmp_path)
    words = ["--size", "64", "--c2pa-certificate", str(chain), "--c2pa-key", str(key)]
    assert cli.main(["render", str(astronaut_avatar()), "-o", str(tmp_path / "a.png"), *words]) == 0
    verdict, manifest = verify(tmp_path / "a.png", authority.pem)
    assert verdict == "Trusted"
    assert "prior embedded" in json.dumps(manifest)


@pytest.mark.parametrize("harm", ["no key", "no file", "other key", "no certificate", "locked", "ply", "curve"])
def test_what_cannot_sign_is_said_before_anything_is_drawn(authority, tmp_path, capsys, harm):
    chain, key = authority.give(tmp_path)
    words = {"--c2pa-certificate": str(chain), "--c2pa-key": str(key)}
    said, to = harm, "mp4"
    match harm:
        case "no key":
            del words["--c2pa-key"]
            said = "needs both"
        case "no file":
            words["--c2pa-key"] = str(tmp_path / "none.pem")
            said = "cannot read"
        case "other key":
            words["--c2pa-key"] = str(authority.give(tmp_path, "es384")[1])
            said = "is not the key of"
        case "no certificate":
            words["--c2pa-certificate"] = str(key)
            said = "is no certificate"
        case "locked":
            locked = serialization.BestAvailableEncryption(b"secret")
            secret = KEYS["es256"]().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
            key.write_bytes(secret)
            said = "without a password"
        case "ply":
            to, said = "ply", "cannot carry"
        case "curve":
            KEYS["odd"] = lambda: ec.generate_private_key(ec.SECP256K1())
            chain, key = authority.give(tmp_path, "odd")
            del KEYS["odd"]
            words = {"--c2pa-certificate": str(chain), "--c2pa-key": str(key)}
            said = "does not know"
    out = tmp_path / f"a.{to}"
    given = [word for pair in words.items() for word in pair]
    assert cli.main(["export", str(astronaut_avatar()), "--to", to, "-o", str(out), *given]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_an_expired_certificate_is_refused_and_the_file_stays_as_it_was(authority, tmp_path):
    draw(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    credentials = read_credentials(*authority.give(tmp_path, days=-1))
    with pytest.raises(InputError, match="valid now"):
        sign(tmp_path / "a.png", MADE, credentials)
    assert (tmp_path / "a.png").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
