"""RSA key pairs in files: one folder a region, one private key at a time, every public key for ever.

    FOLDER/REGION/public-keys.json      every public key in the order of creation, as ListPublicKeys prints them
    FOLDER/REGION/FINGERPRINT.pem       a private key: PKCS#8 PEM, mode 0600, encrypted when there is a passphrase
    FOLDER/REGION/lock                  held (flock) by whoever changes the above

Rules (``log-files-and-digests.md``, "Digest file", keys):

* The key that stands last in ``public-keys.json`` signs.  That file is replaced atomically and is the commit: a private
  key is durable before its public key is listed, so a crash leaves at most a private key that nobody uses.
* A digest that ends at ``t`` is signed by a key that is valid from an hour before ``t`` at the latest to ``t`` at the
  earliest.  ``validate-logs`` looks at digests that end up to an hour behind its range and asks for the keys of the
  range (newer ones: and two hours more), so it finds the key for every range in which it finds the digest.  A digest
  made late, for an hour before its key was made, stretches the key's validity back, durably, before it is signed.
* A private key whose validity has ended is deleted.  Nothing in a chain ever needs it again.
* A file that others may read, or that the passphrase does not open, is refused with a ``ConfigError``.

Two processes may use one folder.  The passphrase and private keys never stand in a message.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from opentrail.core.errors import ConfigError, FormatError, StorageError
from opentrail.core.public_keys import (
    MIN_KEY_BITS,
    PublicKey,
    decode_public_keys,
    encode_public_keys,
    fingerprint_of,
)

LEAD: Final = timedelta(hours=24)  # a key is valid this long before its first use: clocks differ, digests come late
REACH: Final = timedelta(hours=1)  # how far before its range's digests the judge may ask for keys
LIFETIME: Final = timedelta(days=3650)  # of a key that is not rotated; it is stretched if it ever signs for longer
OVERLAP: Final = timedelta(hours=24)  # a rotated key stays valid: another process may be about to sign with it

_PUBLIC_KEYS: Final = "public-keys.json"


@dataclass(frozen=True, slots=True)
class RsaSigner:
    """A loaded private key."""

    fingerprint: str
    private_key: RSAPrivateKey

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256 over ``data``."""
        return self.private_key.sign(data, PKCS1v15(), SHA256())

    def __repr__(self) -> str:
        return f"RsaSigner({self.fingerprint})"


class RsaKeyFiles:
    """The key pairs under ``folder``.  Methods may be called from several threads.

    They raise ``ConfigError`` for files that cannot be used as they are and ``StorageError`` when the disk fails.
    """

    def __init__(self, folder: Path, *, passphrase: bytes | None = None, bits: int = MIN_KEY_BITS) -> None:
        if bits < MIN_KEY_BITS:
            raise ConfigError(f"signing keys of {bits} bits are too small: {MIN_KEY_BITS} or more")
        if passphrase is not None and not passphrase:
            raise ConfigError("the passphrase of the signing keys is empty: leave it out, or give one")
        self._folder = folder
        self._passphrase = passphrase
        self._bits = bits
        self._signers: dict[str, RsaSigner] = {}  # loading checks the key, which costs as much as a hundred signatures
        self._threads = Lock()  # flock is the process's: threads need their own

    def signer(self, region: str, *, now: datetime, digest_end_time: datetime | None = None) -> RsaSigner:
        """The key that signs in ``region``, made at its first use, valid for a digest that ends at ``digest_end_time``.

        Ask for each digest anew: another process may have rotated the key.
        """
        moment = now if digest_end_time is None else digest_end_time
        with self._threads, _as_storage_error():
            keys = self._read(region)
            if not keys or not _covers(keys[-1], moment):
                with self._locked(region):
                    keys = self._read(region) or (self._create(region, now),)
                    keys = (*keys[:-1], _stretch(keys[-1], moment))
                    self._write(region, keys)
            self._discard_expired(region, keys, now)
            try:
                return self._load(region, keys[-1].fingerprint)
            except ConfigError:
                rotated = self._read(region)  # by another process, since we looked, and without an overlap
                if rotated[-1].fingerprint == keys[-1].fingerprint:
                    raise
                return self._load(region, rotated[-1].fingerprint)

    def rotate(self, region: str, *, now: datetime, overlap: timedelta = OVERLAP) -> PublicKey:
        """Make a new key that signs from now on; the one before stays valid for ``overlap``."""
        with self._threads, _as_storage_error(), self._locked(region):
            past = tuple(replace(key, validity_end=min(key.validity_end, now + overlap)) for key in self._read(region))
            key = self._create(region, now)
            self._write(region, (*past, key))
            self._discard_expired(region, past, now)
            return key

    def list(self, region: str) -> tuple[PublicKey, ...]:
        """Every key that the region ever had, in the order of creation; the last one signs."""
        with _as_storage_error():
            return self._read(region)

    def public_keys(self, region: str, start: datetime, end: datetime) -> tuple[PublicKey, ...]:
        """What ListPublicKeys answers: the region's keys that are valid at any moment from ``start`` to ``end``."""
        return tuple(key for key in self.list(region) if key.is_valid_in(start, end))

    def regions(self) -> tuple[str, ...]:
        """The regions that have keys."""
        with _as_storage_error():
            if not self._folder.is_dir():
                return ()
            return tuple(sorted(path.parent.name for path in self._folder.glob(f"*/{_PUBLIC_KEYS}")))

    def _create(self, region: str, now: datetime) -> PublicKey:
        private_key = generate_private_key(public_exponent=65537, key_size=self._bits)
        value = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        fingerprint = fingerprint_of(value)
        pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, self._encryption())
        _write_durably(self._private_path(region, fingerprint), pem)
        self._signers[fingerprint] = RsaSigner(fingerprint, private_key)
        # Whole seconds: digests, and the times of ListPublicKeys, have no finer ones.
        start = now.replace(microsecond=0)
        return PublicKey(
            value=value, fingerprint=fingerprint, validity_start=start - LEAD, validity_end=start + LIFETIME
        )

    def _encryption(self) -> KeySerializationEncryption:
        return NoEncryption() if self._passphrase is None else BestAvailableEncryption(self._passphrase)

    def _read(self, region: str) -> tuple[PublicKey, ...]:
        path = self._region_path(region) / _PUBLIC_KEYS
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return ()
        try:
            return decode_public_keys(data)
        except FormatError as error:
            raise ConfigError(f"{path} is damaged ({error}); restore it, past digests need it") from None

    def _write(self, region: str, keys: Iterable[PublicKey]) -> None:
        _write_durably(self._region_path(region) / _PUBLIC_KEYS, encode_public_keys(keys))

    def _load(self, region: str, fingerprint: str) -> RsaSigner:
        signer = self._signers.get(fingerprint)
        if signer is None:
            path = self._private_path(region, fingerprint)
            signer = self._signers[fingerprint] = RsaSigner(fingerprint, _load_private_key(path, self._passphrase))
        return signer

    def _discard_expired(self, region: str, keys: Iterable[PublicKey], now: datetime) -> None:
        for key in keys:
            if key.validity_end < now:
                self._signers.pop(key.fingerprint, None)
                self._private_path(region, key.fingerprint).unlink(missing_ok=True)

    def _region_path(self, region: str) -> Path:
        if not region or region.startswith(".") or "/" in region or "\0" in region:
            raise ConfigError(f"{region!r} is no name of a region")
        return self._folder / region

    def _private_path(self, region: str, fingerprint: str) -> Path:
        return self._region_path(region) / f"{fingerprint}.pem"

    @contextmanager
    def _locked(self, region: str) -> Iterator[None]:
        """Alone in ``region`` among all processes; the system gives the lock back when a process dies."""
        path = self._region_path(region)
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sync_folder(path.parent)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def read_passphrase(path: Path) -> bytes:
    """The passphrase in the key file ``path``: its content without a line end.  Raises ``ConfigError``."""
    try:
        passphrase = _read_secret(path).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from None
    if not passphrase:
        raise ConfigError(f"the key file {path} is empty")
    return passphrase


def _covers(key: PublicKey, moment: datetime) -> bool:
    return key.validity_start <= moment - REACH and moment <= key.validity_end


def _stretch(key: PublicKey, moment: datetime) -> PublicKey:
    if _covers(key, moment):
        return key
    start = min(key.validity_start, moment.replace(microsecond=0) - LEAD)
    end = key.validity_end if moment <= key.validity_end else moment.replace(microsecond=0) + LIFETIME
    return replace(key, validity_start=start, validity_end=end)


def _load_private_key(path: Path, passphrase: bytes | None) -> RSAPrivateKey:
    try:
        pem = _read_secret(path)
    except FileNotFoundError:
        raise ConfigError(f"the signing key {path} is not there: restore it, or rotate the region's key") from None
    try:
        private_key = load_pem_private_key(pem, passphrase)
    except TypeError:  # cryptography's word for "encrypted, and no password" and for the reverse
        if passphrase is None:
            raise ConfigError(f"the signing key {path} is encrypted: give its passphrase or key file") from None
        message = f"the signing key {path} is not encrypted, but a passphrase is given: leave it out, or rotate the key"
        raise ConfigError(message) from None
    except ValueError:
        what = "is damaged" if passphrase is None else "is damaged, or the passphrase is wrong"
        raise ConfigError(f"the signing key {path} {what}") from None
    if not isinstance(private_key, RSAPrivateKey) or private_key.key_size < MIN_KEY_BITS:
        raise ConfigError(f"the signing key {path} is not an RSA key of {MIN_KEY_BITS} bits or more")
    return private_key


def _read_secret(path: Path) -> bytes:
    """The bytes of a file that only its owner may read.  Raises ``ConfigError`` where others may."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & 0o077:
            raise ConfigError(f"{path} may be read by others (mode {mode & 0o777:04o}): chmod 600 it")
        return file.read()


def _write_durably(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` (mode 0600): whole or not at all, and on disk when it returns."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_storage_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"the signing keys cannot be used: {error}", retryable=True) from error
