"""C2PA Content Credentials: signs finished videos with the owner's certificate and the optional package c2pa-python.

The package is imported for the first video. A video that cannot be signed stays unsigned, and its job has a warning.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from pathlib import Path
from typing import Any

from ..errors import summary
from ..settings import ContentCredentials
from ..store import Row

ALL_NEW = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
IN_PART = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
NOT_SIGNED = "The video has no Content Credentials"
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class CannotSign(Exception):
    """The reason why a video was not signed, for the server's owner."""


def sign(video: Path, row: Row, owner: ContentCredentials) -> list[str]:
    """Sign a finished video in place. Returns warnings: [] or the reason why it stays unsigned."""
    signed = video.with_name(f"{uuid.uuid4().hex}{video.suffix}")
    try:
        _signed(video, signed, _manifest(row), owner)
        os.replace(signed, video)
    except CannotSign as error:
        logging.warning("Atelier: %s: %s", NOT_SIGNED, error)
        return [f"{NOT_SIGNED}: {error}"]
    finally:
        signed.unlink(missing_ok=True)
    return []


def _signed(video: Path, into: Path, manifest: dict[str, Any], owner: ContentCredentials) -> None:
    """Write a signed copy of a video. Raises CannotSign."""
    try:
        import c2pa
    except ImportError as error:
        raise CannotSign(
            f"c2pa-python cannot be imported ({summary(error)}): pip install c2pa-python, restart ComfyUI."
        ) from None
    chain, key = _read(owner.certificate, "certificate"), _read(owner.key, "key")
    try:
        about = c2pa.C2paSignerInfo(_algorithm(key), chain, key, owner.timestamp_url)
        with c2pa.Signer.from_info(about) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            builder.sign_file(video, into, signer)
    except (c2pa.C2paError, ValueError, TypeError, OSError) as error:
        raise CannotSign(f"the certificate, key or time stamp cannot be used: {summary(error)}") from None


def _read(file: str, part: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise CannotSign(
            f"the file of the {part} cannot be read ({summary(error)}). Correct content_credentials in api.json."
        ) from None


def _algorithm(key: bytes) -> str:
    """C2PA's name of the signature algorithm for a private key (PEM). Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, password=None)
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise ValueError("its key must be ECDSA (P-256, P-384, P-521), RSA or Ed25519")


def _manifest(row: Row) -> dict[str, Any]:
    """The C2PA manifest: the generator and the kind of source. Settings and graph stay in the file's own tags."""
    source = IN_PART if row["operation"] in ("edit", "extend", "loop") else ALL_NEW
    action = {"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": {"name": "Atelier"}}
    return {
        "claim_generator_info": [{"name": "Atelier"}],
        "title": f"{row['id']}.mp4",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
