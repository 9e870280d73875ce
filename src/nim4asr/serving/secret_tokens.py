"""Client secrets: keys for browsers, which end soon and open live sessions alone.

A secret holds what it is good for, signed by the key that asked for it: any replica that has the key knows
it, nothing is kept, and it ends with its key.
"""

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nim4asr.serving.errors import ApiError
from nim4asr.serving.json_text import parsed_object, written
from nim4asr.serving.keys import Key

PREFIX = "ek_"
# Signs secrets of a server without keys, which lets everyone in anyway.
NO_KEY = Key("no key", "")


@dataclass(frozen=True)
class ClientSecret:
    """What a secret is good for."""

    key: Key
    expires_at: int
    """In seconds since 1970."""
    session: Mapping[str, Any]
    """The settings that its session begins with, as in ``session.update``."""

    def value(self) -> str:
        """The secret: characters of a token alone, so that it fits into a subprotocol."""
        row = {
            "key": self.key.name,
            "expires_at": self.expires_at,
            "session": self.session,
            "nonce": secrets.token_hex(8),
        }
        payload = _encoded(written(row).encode())
        return f"{PREFIX}{payload}.{_signature(self.key, payload)}"


def read(value: str, keys: Sequence[Key], now: float) -> ClientSecret | None:
    """What ``value`` is good for; None if it is no secret of one of ``keys``, or is over."""
    payload, _, signature = value.removeprefix(PREFIX).partition(".")
    try:
        # Without keys anyone may have signed it.
        row = parsed_object(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        name, session = row["key"], dict(row["session"])
        expires_at = int(row["expires_at"])
    except (ApiError, ValueError, TypeError, KeyError, OverflowError):
        return None
    for key in keys:
        if key.name == name and hmac.compare_digest(
            _signature(key, payload).encode(), signature.encode("utf-8", "replace")
        ):
            return ClientSecret(key, expires_at, session) if now < expires_at else None
    return None


def _signature(key: Key, payload: str) -> str:
    return _encoded(hmac.digest(key.secret.encode(), f"{PREFIX}{payload}".encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
