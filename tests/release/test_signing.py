"""Keys and envelopes, checked with our own words and with two other implementations."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from synthrelease.errors import IntegrityError, SettingsError
from synthrelease.release import signing


@pytest.fixture
def key(tmp_path: Path) -> signing.SigningKey:
    signing.new_key(tmp_path / "key.pem")
    return signing.load_key(tmp_path / "key.pem")


def test_a_new_key_is_readable_by_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    made = signing.new_key(path)
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "deep" / "key.pub").read_text() == made.public_key
    assert "PRIVATE" not in made.model_dump_json()
    with pytest.raises(SettingsError, match="never overwritten"):
        signing.new_key(path)
    path.rename(tmp_path / "deep" / "elsewhere.pem")
    with pytest.raises(SettingsError, match="never overwritten"):  # its public half is still there
        signing.new_key(path)
    assert (tmp_path / "deep" / "elsewhere.pem").read_bytes() == before


def test_a_dangling_link_is_not_followed_when_a_key_is_made(tmp_path: Path) -> None:
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="exists"):
        signing.new_key(tmp_path / "key.pem")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mark", ["manifest-sha256.txt", "audit.json"])
def test_no_key_is_made_inside_a_package_or_evidence(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).touch()
    (tmp_path / "deep").mkdir()
    with pytest.raises(SettingsError, match="no place"):
        signing.new_key(tmp_path / "deep" / "key.pem")


def test_the_users_own_key_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing.PLACE, str(tmp_path / "own"))
    assert signing.known_keys() == ()
    first, second = signing.load_key(), signing.load_key()
    assert (first.made, second.made) == (True, False)
    assert first.public_pem == second.public_pem
    assert [key.key_id for key in signing.known_keys()] == [signing.key_id(first.public_pem)]
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700


def test_a_key_that_others_may_read_is_refused(key: signing.SigningKey) -> None:
    key.path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        signing.load_key(key.path)


def test_files_that_are_no_key_are_named(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    locked = serialization.BestAvailableEncryption(b"secret")
    contents = {
        "no private key": b"hello",
        "another kind": other.private_bytes(*kinds, serialization.NoEncryption()),
        "no private key that": other.private_bytes(*kinds, locked),
    }
    for reason, content in contents.items():
        path = tmp_path / "file"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(SettingsError, match=reason):
            signing.load_key(path)
    with pytest.raises(SettingsError):
        signing.load_key(tmp_path / "missing")
    with pytest.raises(SettingsError, match="no public"):
        signing.load_public(tmp_path / "missing")


def test_a_private_key_given_as_public_is_refused_with_a_warning(key: signing.SigningKey) -> None:
    with pytest.raises(SettingsError, match="must never leave"):
        signing.load_public(key.path)


def test_public_keys_may_come_as_openssh_writes_them(key: signing.SigningKey, tmp_path: Path) -> None:
    public = key.private.public_key()
    text = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "id.pub").write_bytes(text + b" anna@desk\n")
    assert signing.load_public(tmp_path / "id.pub") == key.public_pem


def test_an_envelope_opens_with_its_key_and_with_no_other(key: signing.SigningKey, tmp_path: Path) -> None:
    sealed = signing.envelope(b'{"a": 1}', key).encode()
    assert signing.opened(sealed, key.public_pem) == b'{"a": 1}'
    assert sealed == signing.envelope(b'{"a": 1}', key).encode()
    other = signing.new_key(tmp_path / "other.pem")
    with pytest.raises(IntegrityError, match="no valid signature"):
        signing.opened(sealed, other.public_key.encode())


def test_what_is_signed_can_be_checked_with_cryptography_alone(key: signing.SigningKey) -> None:
    sealed = json.loads(signing.envelope(b"payload", key))
    public = serialization.load_pem_public_key(key.public_pem)
    assert isinstance(public, Ed25519PublicKey)
    body = base64.b64decode(sealed["payload"])
    kind = sealed["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
    public.verify(base64.b64decode(sealed["signatures"][0]["sig"]), signed)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(sealed["signatures"][0]["sig"]), signed + b" ")


@pytest.mark.parametrize(
    "change",
    [
        {"payload": base64.b64encode(b"other").decode()},
        {"payloadType": "text/plain"},
        {"signatures": []},
        {"signatures": "x"},
        {"payload": 7},
        {"signatures": [{"keyid": "x", "sig": "%%%"}]},
    ],
)
def test_changed_envelopes_are_refused_whatever_their_form(key: signing.SigningKey, change: dict[str, object]) -> None:
    sealed = json.dumps(json.loads(signing.envelope(b"payload", key)) | change).encode()
    with pytest.raises(IntegrityError):
        signing.opened(sealed, key.public_pem)
    for garbage in (b"", b"[]", b"null", b"\xff\xfe", b'{"payload": {}}', b"[" * 100_000):
        with pytest.raises(IntegrityError):
            signing.opened(garbage, key.public_pem)


def test_the_secret_of_the_order_is_not_the_key_and_not_public(key: signing.SigningKey, tmp_path: Path) -> None:
    secret = signing.order_secret(key)
    assert len(secret) == 32
    assert secret == signing.order_secret(signing.load_key(key.path))
    assert secret not in (key.private.private_bytes_raw(), key.private.public_key().public_bytes_raw())
    signing.new_key(tmp_path / "other.pem")
    assert secret != signing.order_secret(signing.load_key(tmp_path / "other.pem"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(Exception, match="permission"):
        signing.new_key(tmp_path / "locked" / "key.pem")
