"""Who may open the review page: one-time tokens, sessions, and the checks on every request.

The page shows patients' images to whoever can reach it, and every user and web page on this computer can reach a
loopback port. So a request needs a session, a session needs a token that only the terminal showed, and each token
works once. What a hostile web page could send from the steward's own browser is refused by Host (DNS rebinding),
Origin, `Sec-Fetch-Site`, the cookie's SameSite=Strict and a token in every form.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer browsers send `Origin: null` with forms, which could not be told from a hostile page's.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass
class Session:
    """One browser that came in with a token."""

    reader: str = ""
    role: str = ""
    keys: bool = True  # single-key commands can be turned off: they disturb some who dictate
    form_token: str = field(default_factory=secrets.token_urlsafe)


class Gate:
    """Hands out one-time tokens, turns each into one session, and says why a request is refused."""

    def __init__(self, first_reader: str = "", first_role: str = "") -> None:
        self.port = 0  # known once the server is bound; until then nobody comes in
        self.cookie = f"review_{secrets.token_hex(4)}"  # cookies ignore ports: two servers must not share a name
        self._first = (first_reader, first_role)
        self._tokens: list[bytes] = []
        self._sessions: list[tuple[bytes, Session]] = []
        self._lock = threading.Lock()

    def invite(self) -> str:
        """Return an address that lets one browser in, once."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens.append(_hash(token))
        return f"http://{LOOPBACK}:{self.port}/open?token={token}"

    def admit(self, token: str) -> str | None:
        """Return a new session's cookie for an unused token, which is then used; None for any other."""
        given = _hash(token)
        with self._lock:
            left = [known for known in self._tokens if not hmac.compare_digest(known, given)]
            if len(left) == len(self._tokens):
                return None
            self._tokens = left
            reader, role = self._first
            self._first = ("", "")  # whoever comes second is somebody else, and says who
            cookie = secrets.token_urlsafe(32)
            self._sessions.append((_hash(cookie), Session(reader, role)))
        return cookie

    def session(self, cookie: str) -> Session | None:
        """Return the session of a cookie, if there is one."""
        given, found = _hash(cookie), None
        for known, session in tuple(self._sessions):
            if hmac.compare_digest(known, given):
                found = session
        return found

    def complaint_about_place(self, host: str) -> str:
        """Return why a request under this Host header is refused; empty if it is not."""
        if self.port and host in {f"{LOOPBACK}:{self.port}", f"localhost:{self.port}"}:
            return ""
        return "This page answers only under the address that the terminal shows."

    def complaint_about_origin(self, method: str, host: str, headers: Mapping[str, str]) -> str:
        """Return why a request with a session is refused by where it comes from; empty if it is not."""
        if headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
            return "The request came from another page."
        if method not in {"GET", "HEAD"} and headers.get("Origin") != f"http://{host}":
            return "The form was not sent by this page."
        return ""


def same_secret(given: str, wanted: str) -> bool:
    """Return whether two secrets are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
