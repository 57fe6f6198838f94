"""An issuer of tokens on loopback: its discovery, its keys, and what may go wrong with them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "strongroom"


class SigningKey:
    """A private key of an issuer, and what it publishes of it."""

    def __init__(self, kid: str | None, algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: Any
        if algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            jwk = jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        elif algorithm == "RS256":
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()
            jwk = jwt.algorithms.OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        named = {} if kid is None else {"kid": kid}
        self.jwk: dict[str, Any] = {**jwk, "use": "sig", "alg": algorithm, **named}


class Issuer:
    """`keys` are what it publishes. `mode` is how it answers: well, away, slow, huge, endless, odd
    or redirecting."""

    def __init__(self) -> None:
        self.url = ""
        self.keys = [SigningKey("first")]
        self.mode = "well"
        self.asked: Counter[str] = Counter()
        self.sent = 0  # bytes of an endless answer
        self.discovery: dict[str, Any] = {}

    def token(self, signing: SigningKey | None = None, head: Any = None, **claims: Any) -> str:
        """A token that is good, but for the claims and members of the head that are given; None
        takes one away."""
        signing = signing or self.keys[0]
        now = int(time.time())
        said = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "somebody",
            "iat": now,
            "exp": now + 600,
            "org": "Acme Inc.",
            "scope": "documents:read documents:write openid",
            **claims,
        }
        kept = {name: value for name, value in said.items() if value is not None}
        headers = {"kid": signing.kid, **(head or {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        return jwt.encode(kept, signing.private, signing.algorithm, headers=headers)

    def setting(self, **changes: Any) -> dict[str, Any]:
        """Its entry in OIDC_ISSUERS."""
        return {
            "issuer": self.url,
            "audience": AUDIENCE,
            "tenant_claim": "org",
            "scopes_claim": "scope",
            "tenants": {"Acme Inc.": "acme", "Globex": "globex"},
            **changes,
        }

    def answer(self, path: str) -> bytes:
        self.asked[path] += 1
        if path == "/keys":
            body: Any = {"keys": [key.jwk for key in self.keys]}
        else:
            body = {"issuer": self.url, "jwks_uri": self.url + "/keys", **self.discovery}
        text = json.dumps(body).encode()
        if self.mode == "huge" and path == "/keys":
            return text[:-1] + b" " * 5_000_000 + text[-1:]
        return b"<html>" if self.mode == "odd" else text


@contextmanager
def issuing() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = issuer.answer(self.path)
            if issuer.mode == "away":
                self.send_error(500)
                return
            if issuer.mode == "redirecting":
                self.send_response(302)
                self.send_header("Location", issuer.url + "/keys")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            if issuer.mode == "endless":
                self._endless()
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if issuer.mode == "slow":
                self._slowly(body)
                return
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def _slowly(self, body: bytes) -> None:
            """A byte now and then: no wait for the next one is long."""
            for byte in body:
                if issuer.mode != "slow":
                    break
                try:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                except OSError:
                    break
                time.sleep(0.2)
            self.close_connection = True

        def _endless(self) -> None:
            self.end_headers()
            self.close_connection = True
            try:
                for _ in range(500):
                    self.wfile.write(b" " * 65_536)
                    issuer.sent += 65_536
            except OSError:
                return

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.mode = "well"
        server.shutdown()
        server.server_close()
