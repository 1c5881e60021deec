"""C2PA Content Credentials: signed with a test certificate, read back with c2pa's reader."""

from __future__ import annotations

import datetime
import io
import json

import av
import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from wire_client import FAST, wait


def certificate(name: str, key, issuer: x509.Certificate | None, signed_with, *extensions) -> x509.Certificate:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=9)
    )
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_with.public_key())
    for extension, critical in (*extensions, (known, False)):
        builder = builder.add_extension(extension, critical)
    return builder.sign(signed_with, hashes.SHA256())


def usage(**wanted: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in names})


@pytest.fixture(scope="module")
def papers(tmp_path_factory) -> dict[str, str]:
    """A chain of two certificates that C2PA accepts, and the private key of the first."""
    folder, (root_key, key) = (
        tmp_path_factory.mktemp("papers"),
        (ec.generate_private_key(ec.SECP256R1()) for _ in range(2)),
    )
    ca = ((x509.BasicConstraints(True, None), True), (usage(key_cert_sign=True, crl_sign=True), True))
    root = certificate("Root", root_key, None, root_key, *ca)
    leaf = certificate(
        *("Signer", key, root, root_key, (x509.BasicConstraints(False, None), True)),
        (usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
    )
    (folder / "chain.pem").write_bytes(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"certificate": str(folder / "chain.pem"), "key": str(folder / "key.pem")}


def test_a_video_is_signed_and_keeps_its_workflow(http, owner, papers):
    owner("api.json", {"content_credentials": papers})
    video = wait(http, http.post("/videos", json=FAST).json())
    assert (video["status"], video["warnings"]) == ("completed", [])
    content = http.get(f"/videos/{video['id']}/content").content
    reader = c2pa.Reader("video/mp4", io.BytesIO(content))
    said, failures = json.loads(reader.json()), reader.get_validation_results()["activeManifest"]["failure"]
    assert reader.get_validation_state() == "Valid", said
    assert {failure["code"] for failure in failures} <= {"signingCredential.untrusted"}
    manifest = said["manifests"][said["active_manifest"]]
    assert manifest["signature_info"]["common_name"] == "Signer"
    (actions,) = [a["data"]["actions"] for a in manifest["assertions"] if a["label"].startswith("c2pa.actions")]
    assert actions[0]["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    with av.open(io.BytesIO(content)) as container:
        assert {"prompt", "workflow", "atelier"} <= set(container.metadata)
        assert len(list(container.decode(video=0))) == video["num_frames"]


def test_a_byte_changed_afterwards_is_found(http, owner, papers):
    owner("api.json", {"content_credentials": papers})
    video = wait(http, http.post("/videos", json=FAST | {"seed": 4}).json())
    content = bytearray(http.get(f"/videos/{video['id']}/content").content)
    content[content.rindex(b"mdat") + 50] ^= 1
    assert c2pa.Reader("video/mp4", io.BytesIO(bytes(content))).get_validation_state() == "Invalid"


@pytest.mark.parametrize("spoilt", ["certificate", "key", "swapped"])
def test_what_cannot_be_used_costs_no_video(http, owner, papers, tmp_path, spoilt):
    (tmp_path / "bad.pem").write_text("no certificate")
    wrong = {"swapped": papers["certificate"], "key": str(tmp_path / "not there.pem")}.get(
        spoilt, str(tmp_path / "bad.pem")
    )
    owner("api.json", {"content_credentials": papers | {"certificate" if spoilt == "certificate" else "key": wrong}})
    video = wait(http, http.post("/videos", json=FAST | {"seed": 5}).json())
    assert video["status"] == "completed" and video["warnings"][0].startswith("The video has no Content Credentials: ")
    content = http.get(f"/videos/{video['id']}/content").content
    with av.open(io.BytesIO(content)) as container:
        assert len(list(container.decode(video=0))) == video["num_frames"]
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("video/mp4", io.BytesIO(content))
