"""Manifests of origin by the C2PA standard: signed statements in finished files.

Says who made a file (Kouji), how (a trained model) and which one it is (our produce id), signed
with the operator's key. For whole WAV, MP3 and FLAC only: a manifest holds a hash of the file, so
a stream has none. Knows keys and files; the settings are read by callers. Needs the extra c2pa.
"""

from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kouji.errors import AudioError, ConfigError

MEDIA_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac"}
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PRODUCE_LABEL = "org.kouji.produce"  # our own assertion, named as the standard wants it
_ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManifestSigner:
    """Signs files with one certificate chain and its key; may be used from many threads.

    chain: PEM, the signer's certificate first
    key:   PEM, PKCS#8, not encrypted
    """

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str

    def sign(self, format: str, source: BinaryIO, target: BinaryIO, produce_id: str) -> None:
        """Copy a whole file with a manifest in it.

        format: one of MEDIA_TYPES
        raises: AudioError where the library refuses
        """
        import c2pa

        info = c2pa.C2paSignerInfo(self.algorithm.encode(), self.chain, self.key, None)
        try:
            with c2pa.Signer.from_info(info) as signer, c2pa.Builder(_manifest(produce_id)) as it:
                it.sign(signer, MEDIA_TYPES[format], source, target)
        except c2pa.C2paError as error:
            raise AudioError(
                f"this {format} file cannot be signed (C2PA)",
                seen=_first_line(error),
                cure="check that c2pa_certificate is meant for signing and has not expired",
            ) from error

    def sign_bytes(self, content: bytes, format: str, produce_id: str) -> bytes:
        """The same file with a manifest; unchanged, with a warning, where the format has none."""
        if not self.can_sign(format):
            return content
        target = io.BytesIO()
        self.sign(format, io.BytesIO(content), target, produce_id)
        return target.getvalue()

    def can_sign(self, format: str) -> bool:
        """Whether files of this format can hold a manifest; warns in the log if not."""
        if format not in MEDIA_TYPES:
            allowed = ", ".join(MEDIA_TYPES)
            _log.warning("%s files cannot hold a C2PA manifest, only %s", format, allowed)
        return format in MEDIA_TYPES

    def try_out(self) -> bool:
        """Sign a short silence and read it back; whether what was read is valid.

        raises: AudioError as `sign`
        """
        import c2pa

        from kouji.audio.encode import encode_bytes
        from kouji.types import Audio

        silence = encode_bytes(Audio(np.zeros(800, np.float32), 8000), "wav")
        signed = self.sign_bytes(silence, "wav", "00000000")
        with c2pa.Reader(MEDIA_TYPES["wav"], io.BytesIO(signed)) as reader:
            return str(reader.get_validation_state()) in ("Valid", "Trusted")


def open_signer(certificate: str, key: str) -> ManifestSigner | None:
    """The operator's signer; None where nothing is configured.

    certificate, key: paths of PEM files, both or neither
    raises:           ConfigError for a missing package, an unreadable file, a key that does not
                      belong to the certificate, or a certificate that C2PA does not accept
    """
    if not certificate and not key:
        return None
    if not certificate or not key:
        missing = "c2pa_key" if certificate else "c2pa_certificate"
        raise ConfigError(
            "a C2PA manifest needs a certificate and its key",
            seen=f"no {missing}",
            cure=f"set {missing}, or unset the other",
        )
    try:
        import c2pa  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "c2pa_certificate is set, but the package c2pa-python is not installed",
            cure="run: pip install 'kouji[c2pa]'",
        ) from error
    chain, secret = _read("c2pa_certificate", certificate), _read("c2pa_key", key)
    signer = ManifestSigner(chain, secret, _algorithm(chain, secret))
    try:
        is_valid = signer.try_out()
    except AudioError as error:
        raise ConfigError(f"C2PA: {error}") from error
    if not is_valid:
        raise ConfigError(
            "manifests signed with c2pa_certificate are not valid",
            seen=certificate,
            cure="use a certificate for signing documents or mail, valid today",
        )
    return signer


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot read {name} {path!r}", seen=reason) from error


def _algorithm(chain: bytes, key: bytes) -> str:
    """The signature algorithm of this key, after checking that it belongs to the certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        public = x509.load_pem_x509_certificates(chain)[0].public_key()
    except ValueError as error:
        seen = _first_line(error)
        raise ConfigError("c2pa_certificate is no PEM certificate", seen=seen) from error
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise ConfigError(
            "c2pa_key is no PEM key that can be read",
            seen=_first_line(error),
            cure="convert it: openssl pkcs8 -topk8 -nocrypt",
        ) from error
    if private.public_key() != public:
        raise ConfigError("c2pa_key does not belong to c2pa_certificate", cure="check both paths")
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _ALGORITHMS:
        return _ALGORITHMS[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    allowed = "P-256, P-384, P-521, Ed25519, RSA"
    raise ConfigError("C2PA knows no such key", seen=type(private).__name__, allowed=allowed)


def _manifest(produce_id: str) -> dict[str, Any]:
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    return {
        "claim_generator_info": [{"name": "Kouji", "version": version("kouji")}],
        "title": f"speech {produce_id}",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": PRODUCE_LABEL, "data": {"ProduceID": produce_id}},
        ],
    }


def produce_id_of(tags: dict[str, str]) -> str:
    """The produce id in the label of a file's tags; empty where there is none."""
    try:
        return str(json.loads(tags["AIGC"])["AIGC"]["ProduceID"])
    except (KeyError, TypeError, ValueError):
        return ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
