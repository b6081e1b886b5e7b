"""Ed25519 keys, and signed envelopes (DSSE 1.0) around what a publisher states."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from synthrelease import store
from synthrelease.errors import IntegrityError, SettingsError
from synthrelease.release_records import KeyInfo

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PLACE = "SYNTHRELEASE_KEYS"  # environment: the folder of the user's key
PRIVATE_NAME, PUBLIC_SUFFIX = "publisher.pem", ".pub"
_OTHER_COPY = "Do not use this package: get another copy, or ask its publisher."
MOST_KEY_BYTES = 16_384
TREES = ("manifest-sha256.txt", "audit.json")  # a folder with one of these is a package, or evidence


@dataclass(frozen=True)
class SigningKey:
    """A private key and the file that it lies in."""

    path: Path
    private: Ed25519PrivateKey
    made: bool = False

    @property
    def public_pem(self) -> bytes:
        """Public half as PEM (SubjectPublicKeyInfo)."""
        return _pem(self.private.public_key())

    @property
    def info(self) -> KeyInfo:
        """What may be shown of the key."""
        return KeyInfo(
            path=str(self.path), key_id=key_id(self.public_pem), public_key=self.public_pem.decode(), made=self.made
        )


def keys_folder() -> Path:
    """Return the folder of the user's key: ``$SYNTHRELEASE_KEYS``, else the platform's place for settings."""
    place = os.environ.get(PLACE)
    return Path(place) if place else Path(platformdirs.user_config_dir("synthrelease")) / "keys"


def known_keys() -> tuple[KeyInfo, ...]:
    """Return the keys in the user's folder; none before the first was made."""
    return tuple(load_key(path).info for path in sorted(keys_folder().glob("*.pem")))


def new_key(path: Path | None = None) -> KeyInfo:
    """Make a key in ``path`` (mode 0600) with its public half beside it, and return what may be shown of it.

    Raises:
        SettingsError: A key is there already, or the place is inside a package or an evidence folder.
    """
    path = path or keys_folder() / PRIVATE_NAME
    public = path.with_name(path.name.removesuffix(".pem") + PUBLIC_SUFFIX)
    _refuse_trees(path)
    with store.disk_errors(path):
        if not path.parent.is_dir():
            store.private_folder(path.parent)
        with store.one_writer(path):
            for there in (path, public):
                if there.exists() or there.is_symlink():
                    raise SettingsError(f"{there} exists, and keys are never overwritten.", "Name another --out file.")
            key = SigningKey(path, Ed25519PrivateKey.generate())
            store.write_text(path, _private_pem(key.private).decode())  # a temporary file is born with mode 0600
            store.write_text(public, key.public_pem.decode())
    return key.info.model_copy(update={"made": True})


def load_key(path: Path | None = None) -> SigningKey:
    """Return the key in ``path``; without one the user's own, which is made if there is none.

    Raises:
        SettingsError: No file, no unprotected Ed25519 key in it, or others than its owner may read it.
    """
    if path is None:
        path = keys_folder() / PRIVATE_NAME
        if not path.exists():
            new_key(path)
            return replace(load_key(path), made=True)
    try:
        text, mode = _content(path), path.stat().st_mode
        private = serialization.load_pem_private_key(text, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(
            f"{path} holds no private key that can be read: {error}", "Make one with `synthrelease keys new`."
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"{path} holds a key of another kind than Ed25519.", "Run `synthrelease keys new`.")
    if os.name == "posix" and mode & 0o077:
        raise SettingsError(f"Others than its owner may read {path}.", f"Run: chmod 600 {path}")
    return SigningKey(path, private)


def load_public(path: Path) -> bytes:
    """Return a public Ed25519 key, given as PEM or as OpenSSH writes it, as PEM."""
    try:
        return as_pem(_content(path))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path} holds no public Ed25519 key: {error}", "Use the .pub file that the publisher gave you."
        ) from error


def as_pem(content: bytes) -> bytes:
    """Return a public Ed25519 key as the PEM text that we write; ValueError says what is wrong with another."""
    if b"PRIVATE KEY" in content:
        raise ValueError("it is a private key, which must never leave its owner")
    try:
        if content.startswith(b"ssh-"):
            key: object = serialization.load_ssh_public_key(content)
        else:
            key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("it cannot be read as a key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is a key of another kind")
    return _pem(key)


def key_id(public_pem: bytes) -> str:
    """Return the 64 hex characters that name a public key in envelopes."""
    return _checking_key(public_pem).keyid


def order_secret(key: SigningKey) -> bytes:
    """Return 32 bytes that only the holder of the key can make: they order the images of a release."""
    raw = key.private.private_bytes_raw()
    return HKDF(hashes.SHA256(), length=32, salt=None, info=b"synthrelease image order v1").derive(raw)


def envelope(payload: bytes, key: SigningKey) -> str:
    """Return the payload in a signed envelope, as JSON; Ed25519 signs equal payloads equally."""
    sealed = Envelope(payload, PAYLOAD_TYPE, {})
    sealed.sign(CryptoSigner(key.private))
    return json.dumps(sealed.to_dict(), indent=1, sort_keys=True) + "\n"


def opened(text: bytes, public_pem: bytes) -> bytes:
    """Return an envelope's payload if the key signed it.

    Raises:
        IntegrityError: No envelope, another payload type, or no signature by this key.
    """
    try:
        sealed = Envelope.from_dict(json.loads(text))
        if sealed.payload_type != PAYLOAD_TYPE:
            raise ValueError(f"its payload type is {sealed.payload_type!r}")
    except Exception as error:  # the library raises whatever malformed input provokes
        raise IntegrityError(f"It is no signed envelope: {type(error).__name__}: {error}.", _OTHER_COPY) from error
    try:
        sealed.verify([_checking_key(public_pem)], 1)
    except Exception as error:  # as above
        said = f"It carries no valid signature by the key {key_id(public_pem)[:16]}."
        raise IntegrityError(said, _OTHER_COPY) from error
    return bytes(sealed.payload)


def _checking_key(public_pem: bytes) -> SSlibKey:
    return SSlibKey.from_crypto(serialization.load_pem_public_key(public_pem))


def _pem(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _private_pem(private: Ed25519PrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_KEY_BYTES)


def _refuse_trees(path: Path) -> None:
    for folder in path.absolute().resolve().parents:
        if any((folder / name).exists() for name in TREES):
            raise SettingsError(
                f"{folder} is a package or an evidence folder, where a private key has no place.",
                "Name another --out file, or leave it out: the key then goes to your settings folder.",
            )
