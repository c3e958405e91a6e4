"""C2PA manifests: signed files are read back by the standard's own reader; wrong keys are told."""

from __future__ import annotations

import datetime
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kouji.audio.encode import AudioWriter, encode_bytes, save_audio
from kouji.audio.labels import label_tags, read_labels
from kouji.audio.load import load_audio
from kouji.audio.provenance import MEDIA_TYPES, PRODUCE_LABEL, SOURCE_TYPE, open_signer
from kouji.errors import AudioError, ConfigError
from kouji.types import Audio

c2pa = pytest.importorskip("c2pa")
x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402

SOUND = Audio((0.1 * np.sin(np.arange(24000) * 0.05)).astype(np.float32), 24000)
TAGS = label_tags("1a2b3c4d")


def certificate(name: str, public: Any, issuer: str, key: Any, days: int = 30) -> bytes:
    """A certificate as C2PA wants it; one that signs others where it signs itself."""
    is_root = name == issuer
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    names = [
        x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Test"),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, one),
            ]
        )
        for one in (name, issuer)
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, is_root, is_root, False, False),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    if not is_root:
        builder = builder.add_extension(usage, critical=False)
    return bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def write_chain(folder: Path, key: Any, days: int = 30) -> tuple[str, str]:
    """The paths of a chain of two and of the key of its first."""
    root = ec.generate_private_key(ec.SECP256R1())
    chain = certificate("leaf", key.public_key(), "root", root, days)
    chain += certificate("root", root.public_key(), "root", root)
    plain = serialization.NoEncryption()
    paths = folder / "chain.pem", folder / "key.pem"
    paths[0].write_bytes(chain)
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return str(paths[0]), str(paths[1])


@pytest.fixture
def chain(tmp_path: Path) -> tuple[str, str]:
    return write_chain(tmp_path, ec.generate_private_key(ec.SECP256R1()))


def read_manifest(content: bytes, format: str) -> tuple[str, dict[str, Any]]:
    """The verdict of the reader, and the manifest."""
    with c2pa.Reader(MEDIA_TYPES[format], io.BytesIO(content)) as reader:
        store = json.loads(reader.json())
        return str(reader.get_validation_state()), store["manifests"][store["active_manifest"]]


@pytest.mark.parametrize("format", list(MEDIA_TYPES))
def test_files_say_who_made_them(format: str, chain: tuple[str, str], tmp_path: Path) -> None:
    signer = open_signer(*chain)
    path = tmp_path / f"out.{format}"
    save_audio(SOUND, path, tags=TAGS, signer=signer)
    for content in (path.read_bytes(), encode_bytes(SOUND, format, TAGS, signer=signer)):
        state, manifest = read_manifest(content, format)
        assert state == "Valid"
        assert manifest["claim_generator_info"][0]["name"] == "Kouji"
        facts = {item["label"]: item["data"] for item in manifest["assertions"]}
        (action,) = facts["c2pa.actions.v2"]["actions"]
        assert action == {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
        assert facts[PRODUCE_LABEL] == {"ProduceID": "1a2b3c4d"}
        assert read_labels(content).aigc["ProduceID"] == "1a2b3c4d"
        unsigned = load_audio(encode_bytes(SOUND, format, TAGS)).samples
        np.testing.assert_array_equal(load_audio(content).samples, unsigned)
    assert [item.name for item in tmp_path.glob(".*")] == []
    broken = bytearray(path.read_bytes())
    broken[len(broken) * 3 // 5] ^= 1  # in the sound
    assert read_manifest(bytes(broken), format)[0] == "Invalid"


@pytest.mark.parametrize("format", ["opus", "aac", "pcm"])
def test_what_cannot_be_signed_is_said(
    format: str, chain: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signer = open_signer(*chain)
    with caplog.at_level(logging.WARNING):
        save_audio(SOUND, tmp_path / f"out.{format}", tags=TAGS, signer=signer)
    assert f"{format} files cannot hold a C2PA manifest" in caplog.text


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_other_keys(key: Any, tmp_path: Path) -> None:
    signer = open_signer(*write_chain(tmp_path, key))
    assert read_manifest(encode_bytes(SOUND, "wav", TAGS, signer=signer), "wav")[0] == "Valid"


def test_nothing_is_signed_unless_asked_for() -> None:
    assert open_signer("", "") is None


def test_wrong_keys_are_told_at_once(chain: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    foreign = write_chain(other, ec.generate_private_key(ec.SECP256R1()))
    text = tmp_path / "text.pem"
    text.write_text("no key")
    for certificate_path, key_path, message in (
        (chain[0], "", "no c2pa_key"),
        ("", chain[1], "no c2pa_certificate"),
        (str(tmp_path / "missing.pem"), chain[1], "cannot read c2pa_certificate"),
        (chain[0], str(tmp_path), "cannot read c2pa_key"),
        (chain[0], foreign[1], "does not belong"),
        (str(text), chain[1], "no PEM certificate"),
        (chain[0], str(text), "no PEM key"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_signer(certificate_path, key_path)
    curve = write_chain(other, ec.generate_private_key(ec.SECP256K1()))
    with pytest.raises(ConfigError, match="P-256"):
        open_signer(*curve)


def test_an_expired_certificate_is_told_at_once(tmp_path: Path) -> None:
    expired = write_chain(tmp_path, ec.generate_private_key(ec.SECP256R1()), days=-1)
    with pytest.raises(ConfigError):
        open_signer(*expired)


def test_a_missing_package_is_told_at_once(
    chain: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    with pytest.raises(ConfigError, match=r"kouji\[c2pa\]"):
        open_signer(*chain)


def test_a_file_that_cannot_be_signed_does_not_appear(
    chain: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature that fails after all leaves neither an unsigned file nor a part of one."""
    signer = open_signer(*chain)
    assert signer is not None
    path = tmp_path / "out.wav"

    def refuse(*_: object) -> None:
        raise AudioError("refused")

    monkeypatch.setattr(type(signer), "sign", refuse)
    with pytest.raises(AudioError, match="refused"), AudioWriter(path, 24000, signer=signer) as out:
        out.write(SOUND.samples)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["chain.pem", "key.pem"]
