"""What is left of botocore in the image is enough for the credential chain."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.support.container import Image
from tests.support.engines import Engine
from tests.support.service import settings

_ANSWER = b"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA</AccessKeyId>
<SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


class FakeSts(HTTPServer):
    """Gives credentials to whoever asks, and keeps the questions."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        super().__init__(("127.0.0.1", 0), _StsHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _StsHandler(BaseHTTPRequestHandler):
    server: FakeSts

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append(parse_qs(body))
        self.send_response(200)
        self.send_header("Content-Length", str(len(_ANSWER)))
        self.end_headers()
        self.wfile.write(_ANSWER)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def sts() -> Iterator[FakeSts]:
    with FakeSts() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_web_identity(image: Image, ministack: Engine, sts: FakeSts, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-signed-token")
    environment = settings(ministack, "image-irsa") | {
        "AWS_ENDPOINT_URL_STS": sts.url,
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/strongroom",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token",
    }
    del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    token = ("--volume", f"{tmp_path / 'token'}:/var/run/secrets/token:ro")
    for command in (["provision"], ["keys", "list", "--all"]):
        done = image.run(*command, env=environment, options=token)
        assert done.returncode == 0, done.stderr
        assert sts.asked.pop()["WebIdentityToken"] == ["a-signed-token"]


def test_every_client_that_the_chain_makes_can_be_made(image: Image) -> None:
    done = image.python(
        "import botocore.session\n"
        "for service in ('sts', 'sso', 'sso-oidc', 'signin', 'dynamodb', 's3'):\n"
        "    botocore.session.Session().create_client(service, region_name='eu-central-1')\n"
    )
    assert done.returncode == 0, done.stderr


def test_aws_s_certificates_can_be_checked(image: Image) -> None:
    done = image.python("import ssl; print(ssl.create_default_context().cert_store_stats())")
    assert "'x509_ca': 0" not in done.stdout
    assert done.returncode == 0, done.stderr
