"""Sign files with content credentials (C2PA): who made a file, and whether it was changed since. Needs the extra ``[c2pa]``.

Signing happens only where a certificate is given, in two environment variables that hold either a file's path or the PEM
text itself (as the secrets of a Space do):

- ``SUPERFACE_C2PA_CERT``: the certificate with its chain, the signer's own first;
- ``SUPERFACE_C2PA_KEY``: its private key, without a password.

No certificate is generated: an unknown one proves no more than the plain mark, but would look as if it did. The
signature holds as long as the certificate is valid. Neither signing nor checking contacts a server.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal

from ..errors import ProvenanceError, install_command
from ..utils.files import part_of
from ..version import __version__

CERTIFICATE, KEY = "SUPERFACE_C2PA_CERT", "SUPERFACE_C2PA_KEY"
MIME_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
}
# Above so many megabytes the library works on temporary files; it hashes a video in pieces of so many kilobytes. With its
# defaults it would hold the whole video in memory, twice.
IN_MEMORY, PIECE = 16, 1024
SETTINGS = {
    "core": {"backing_store_memory_threshold_in_mb": IN_MEMORY, "merkle_tree_chunk_size_in_kb": PIECE},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {
        "claim_generator_info": {"name": "superface-hf", "version": __version__},
        "thumbnail": {"enabled": False},
    },
}
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}

State = Literal["trusted", "intact", "broken", "unchecked"]


@dataclass(frozen=True)
class ContentCredentials:
    """The content of a file's newest content credentials.

    Attributes:
        state: "trusted": unchanged since it was signed, by a signer on a trust list; "intact": unchanged, the signer is on
            no list known here; "broken": changed after it was signed, or damaged; "unchecked": c2pa is not installed.
        signer: the name in the certificate, or None.
        software: the program that made the claim, or None.
        source_type: IPTC's term for how the file was made, or None.
    """

    state: State
    signer: str | None = None
    software: str | None = None
    source_type: str | None = None


@dataclass(frozen=True)
class Signer:
    """A certificate with its chain and its key, both PEM, and C2PA's name of the algorithm for the key."""

    certificate: bytes
    key: bytes
    algorithm: str

    @classmethod
    def from_environment(cls) -> Signer | None:
        """Return the signer that the environment names, or None.

        Raises:
            ProvenanceError: only one of the two is given, they cannot be read, do not belong together or cannot sign, or
                c2pa is not installed.
        """
        certificate, key = os.environ.get(CERTIFICATE), os.environ.get(KEY)
        if not certificate and not key:
            return None
        if not certificate or not key:
            given, missing = (CERTIFICATE, KEY) if certificate else (KEY, CERTIFICATE)
            raise ProvenanceError(f"{given} is set, but {missing} is not: files are signed with both or not at all.")
        if find_spec("c2pa") is None:
            raise ProvenanceError(
                f"{CERTIFICATE} is set, but the library that signs is missing: "
                f"{install_command('c2pa')}, or unset the variable."
            )
        return _proven(_pem(CERTIFICATE, certificate), _pem(KEY, key))

    def sign(self, path: Path) -> None:
        """Sign a finished file in place; it is replaced by the signed file, or stays as it was.

        Raises:
            ProvenanceError: the library cannot sign it.
        """
        signed = part_of(path)
        try:
            with path.open("rb") as source, signed.open("w+b") as target:
                self.copy_signed(MIME_TYPES[path.suffix.lower()], source, target)
            signed.replace(path)
        finally:
            signed.unlink(missing_ok=True)

    def copy_signed(self, mime_type: str, source: IO[bytes], target: IO[bytes]) -> None:
        """Write a signed copy, labelled as a picture of which a trained model made a part; see :meth:`sign`."""
        import c2pa

        try:
            information = c2pa.C2paSignerInfo(self.algorithm, self.certificate, self.key, None)
            with (
                c2pa.Signer.from_info(information) as signer,
                c2pa.Context.from_dict(SETTINGS) as context,
                c2pa.Builder({}, context=context) as builder,
            ):
                builder.set_intent(
                    c2pa.C2paBuilderIntent.CREATE,
                    c2pa.C2paDigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
                )
                builder.sign(signer, mime_type, source, target)
        except c2pa.C2paError as error:
            raise ProvenanceError(
                f"The certificate in {CERTIFICATE} cannot sign: {error}. It must be valid today, meant for signing (not "
                "self-signed), and come with the certificates of its issuers."
            ) from error


@lru_cache(maxsize=1)
def _proven(certificate: bytes, key: bytes) -> Signer:
    """Return the signer, after it has signed a small picture, so that errors show before an hour of rendering."""
    from PIL import Image

    signer = Signer(certificate, key, _algorithm(certificate, key))
    picture = io.BytesIO()
    Image.new("L", (16, 16)).save(picture, "PNG")
    picture.seek(0)
    signer.copy_signed(MIME_TYPES[".png"], picture, io.BytesIO())
    return signer


def read_credentials(path: Path, present: bool) -> ContentCredentials | None:
    """Return the content credentials of a file, or None.

    Args:
        present: whether the file seems to hold credentials; if not, the library is not loaded.
    """
    if not present:
        return None
    if find_spec("c2pa") is None:
        return ContentCredentials("unchecked")
    import c2pa

    try:
        with (
            c2pa.Context.from_dict(SETTINGS) as context,
            path.open("rb") as file,
            c2pa.Reader(None, file, context=context) as reader,
        ):
            state, manifest = reader.get_validation_state(), reader.get_active_manifest() or {}
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError:
        return ContentCredentials("broken")
    signature = manifest.get("signature_info") or {}
    generators = manifest.get("claim_generator_info") or [{}]
    states: dict[str | None, State] = {"Trusted": "trusted", "Valid": "intact"}
    return ContentCredentials(
        states.get(state, "broken"),
        signature.get("common_name") or signature.get("issuer"),
        generators[0].get("name") or manifest.get("claim_generator"),
        _source_type(manifest),
    )


def _source_type(manifest: dict[str, Any]) -> str | None:
    """Return the digital source type of the first action that names one."""
    for assertion in manifest.get("assertions") or []:
        if not str(assertion.get("label", "")).startswith("c2pa.actions"):
            continue
        for action in assertion["data"].get("actions") or []:
            if action.get("digitalSourceType"):
                return str(action["digitalSourceType"]).rpartition("/")[2]
    return None


def _pem(variable: str, value: str) -> bytes:
    if value.lstrip().startswith("-----BEGIN"):
        return value.encode()
    try:
        return Path(value).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        # The message does not repeat the value, which may be a part of a key.
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ProvenanceError(f"The file that {variable} names cannot be read: {reason}.") from None


def _algorithm(certificate: bytes, key: bytes) -> str:
    """Return the C2PA name of the signature algorithm for a key."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        raise ProvenanceError(f"{CERTIFICATE} holds no certificate in PEM form.") from None
    try:
        private: Any = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ProvenanceError(f"{KEY} holds no private key in PEM form without a password.") from None
    if private.public_key() != public:
        raise ProvenanceError(f"The key in {KEY} does not belong to the first certificate in {CERTIFICATE}.")
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    raise ProvenanceError(f"The key in {KEY} is of a kind that cannot sign: use P-256, P-384, P-521, Ed25519 or RSA.")
