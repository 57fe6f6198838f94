"""The signed word of a run, about the image that was loaded: what a promotion to prod asks for.

One line, so that a log can carry it: `strongroom-load:v1:` and two parts in base64, divided by a
dot: a JSON object, and its Ed25519 signature. The object has `digest` (sha256:...), `profile`,
`held` (whether every threshold was), `missed` (those that were not), `url`, `at` (ISO 8601, UTC).
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_FORM = re.compile(r"strongroom-load:v1:([A-Za-z0-9+/=]+)\.([A-Za-z0-9+/=]+)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class NoVerdict(ValueError):
    """What is wrong with a verdict, a digest or a key."""


def checked(digest: str) -> str:
    """The digest itself. Raises NoVerdict if it is none."""
    if not _DIGEST.fullmatch(digest):
        raise NoVerdict(f"{digest!r} is no digest: sha256: and 64 hexadecimal digits in lower case")
    return digest


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """Raises NoVerdict if it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NoVerdict(f"the key of verdicts is no private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise NoVerdict("the key of verdicts is none of Ed25519: scripts/load-verdict key")
    return key


def signed(
    key: Ed25519PrivateKey, digest: str, profile: str, url: str, missed: list[str], *, held: bool
) -> str:
    """The line."""
    payload = json.dumps(
        {
            "digest": checked(digest),
            "profile": profile,
            "held": held,
            "missed": missed[:20],
            "url": url,
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        sort_keys=True,
    ).encode()
    parts = (base64.b64encode(part).decode() for part in (payload, key.sign(payload)))
    return f"strongroom-load:v1:{'.'.join(parts)}"


def opened(line: str, public_pem: bytes) -> dict[str, Any]:
    """What it says. Raises NoVerdict if this key's other half has not signed it."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found = _FORM.search(line)
    if found is None:
        raise NoVerdict("there is no verdict in it: a line that begins with strongroom-load:v1:")
    try:
        key = load_pem_public_key(public_pem)
        payload, signature = (base64.b64decode(part, validate=True) for part in found.groups())
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as error:
        raise NoVerdict(
            f"the verdict, or the key that it is held against, is broken: {error}"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise NoVerdict("the key that verdicts are held against is none of Ed25519")
    try:
        key.verify(signature, payload)
    except InvalidSignature:
        raise NoVerdict("the verdict is not signed by the key that it is held against") from None
    said: dict[str, Any] = json.loads(payload)
    return said
