"""C2PA Content Credentials in finished videos, with the owner's certificate: the optional package c2pa-python.

Imported when the first video is signed. A video that cannot be signed is kept as it is, and its job says why.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from pathlib import Path
from typing import Any

from ..errors import words
from ..settings import ContentCredentials
from ..store import Row

ALL_NEW = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
IN_PART = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
NOT_SIGNED = "The video has no Content Credentials"
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class CannotSign(Exception):
    """Why a video was not signed, in words for its owner."""


def sign(video: Path, row: Row, owner: ContentCredentials) -> list[str]:
    """Put a signed manifest into a finished video, in place. Returns warnings: empty, or why it stays unsigned."""
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
    """Raises CannotSign."""
    try:
        import c2pa
    except ImportError as error:
        raise CannotSign(
            f"c2pa-python cannot be imported ({words(error)}): pip install c2pa-python, restart ComfyUI."
        ) from None
    chain, key = _read(owner.certificate, "certificate"), _read(owner.key, "key")
    try:
        about = c2pa.C2paSignerInfo(_algorithm(key), chain, key, owner.timestamp_url)
        with c2pa.Signer.from_info(about) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            builder.sign_file(video, into, signer)
    except (c2pa.C2paError, ValueError, TypeError, OSError) as error:
        raise CannotSign(f"the certificate, its key or the time stamp cannot be used: {words(error)}") from None


def _read(file: str, part: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise CannotSign(
            f"the {part}'s file cannot be read ({words(error)}). Mend content_credentials in api.json."
        ) from None


def _algorithm(key: bytes) -> str:
    """C2PA's name for how this private key (PEM) signs. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, password=None)
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise ValueError("its key is none of ECDSA (P-256, P-384, P-521), RSA and Ed25519")


def _manifest(row: Row) -> dict[str, Any]:
    """Who made it and from what. The settings and the graph stay where they are, in the file's own tags."""
    source = IN_PART if row["operation"] in ("edit", "extend", "loop") else ALL_NEW
    action = {"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": {"name": "Atelier"}}
    return {
        "claim_generator_info": [{"name": "Atelier"}],
        "title": f"{row['id']}.mp4",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
