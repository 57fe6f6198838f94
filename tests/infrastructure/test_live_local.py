"""The emulated accounts are accounts: apart, with enforcement, and reached by the proxy alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from scripts.live_local import certificates, supervisor, tree
from scripts.live_local.accounts import AccountsError, EmulatedAccounts, without_foreign
from scripts.live_local.proxy import Proxy

PROFILES = ("dev", "staging", "prod")
ROOT = Path(__file__).parents[2]
HOST = "token.actions.githubusercontent.com"


def unique(prefix: str = "test") -> str:
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The code with which AWS refuses it."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    return str(caught.value.response["Error"]["Code"])


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str | list[str], resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def user(
    accounts: EmulatedAccounts,
    *statements: dict[str, Any],
    profile: str = "dev",
    boundary: str = "",
) -> boto3.Session:
    iam, name = accounts.session(profile).client("iam"), unique("user")
    iam.create_user(UserName=name, **({"PermissionsBoundary": boundary} if boundary else {}))
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return accounts.session_of(key["AccessKeyId"], key["SecretAccessKey"])


def policy(accounts: EmulatedAccounts, *statements: dict[str, Any]) -> str:
    iam = accounts.session("dev").client("iam")
    made = iam.create_policy(PolicyName=unique(), PolicyDocument=document(*statements))
    return str(made["Policy"]["Arn"])


def role(accounts: EmulatedAccounts, trust: dict[str, Any], *statements: dict[str, Any]) -> str:
    iam, name = accounts.session("dev").client("iam"), unique("role")
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(*statements))
    return str(made["Role"]["Arn"])


@pytest.fixture(scope="module")
def table(accounts: EmulatedAccounts) -> str:
    name = unique("table")
    accounts.session("dev").client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


KEY = {"PK": {"S": "a"}}


class TestWhoIsWho:
    @pytest.mark.parametrize("profile", PROFILES)
    def test_each_profile_is_its_accounts_administrator(
        self, accounts: EmulatedAccounts, profile: str
    ) -> None:
        caller = accounts.session(profile).client("sts").get_caller_identity()

        assert caller["Account"] == accounts.account_ids[profile]
        assert caller["Arn"] == f"arn:aws:iam::{caller['Account']}:user/administrator"

    def test_the_accounts_are_those_of_live(self, accounts: EmulatedAccounts) -> None:
        assert accounts.account_ids == tree.account_ids()
        assert len(set(accounts.account_ids.values())) == 3

    def test_a_wrong_secret_is_refused(self, accounts: EmulatedAccounts) -> None:
        credentials = accounts.session("dev").get_credentials()
        assert credentials is not None
        wrong = accounts.session_of(credentials.access_key, "not-the-secret")

        assert refused(wrong.client("sts").get_caller_identity) == "SignatureDoesNotMatch"
        assert refused(wrong.client("s3").list_buckets) == "SignatureDoesNotMatch"
        assert refused(wrong.client("dynamodb").list_tables) == "InvalidSignatureException"

    def test_an_unknown_key_and_none_at_all_are_refused(self, accounts: EmulatedAccounts) -> None:
        stranger = accounts.session_of("AKIAIOSFODNN7EXAMPLE", "secret")
        nobody = stranger.client("dynamodb", config=Config(signature_version=UNSIGNED))

        assert refused(stranger.client("dynamodb").list_tables) == "UnrecognizedClientException"
        assert refused(nobody.list_tables) == "MissingAuthenticationTokenException"

    def test_accounts_do_not_see_each_other(self, accounts: EmulatedAccounts, table: str) -> None:
        name = unique("bucket")
        region = {"LocationConstraint": accounts.region}
        s3 = accounts.session("dev").client("s3")
        s3.create_bucket(Bucket=name, CreateBucketConfiguration=region)
        s3.put_object(Bucket=name, Key="key", Body=b"")
        other = accounts.session("prod")

        assert table in accounts.session("dev").client("dynamodb").list_tables()["TableNames"]
        assert table not in other.client("dynamodb").list_tables()["TableNames"]
        arn = f"arn:aws:dynamodb:{accounts.region}:{accounts.account_ids['dev']}:table/{table}"
        gone = "ResourceNotFoundException"
        assert refused(other.client("dynamodb").describe_table, TableName=table) == gone
        assert refused(other.client("dynamodb").describe_table, TableName=arn) == gone
        assert refused(other.client("s3").get_object, Bucket=name, Key="key") == "AccessDenied"

    def test_regions_do_not_see_each_other(self, accounts: EmulatedAccounts, table: str) -> None:
        elsewhere = accounts.session("dev", "eu-west-1").client("dynamodb")

        assert table not in elsewhere.list_tables()["TableNames"]

    def test_an_unknown_profile_is_told(self, accounts: EmulatedAccounts) -> None:
        with pytest.raises(AccountsError, match="no such account: test"):
            accounts.session("test")


class TestEnforcement:
    def test_nothing_is_allowed_that_no_policy_allows(
        self, accounts: EmulatedAccounts, table: str
    ) -> None:
        """First the denial: enforcement that is off fails here."""
        denied = "AccessDeniedException"
        nobody = user(accounts).client("dynamodb")
        assert refused(nobody.get_item, TableName=table, Key=KEY) == denied

        reader = user(accounts, allow("dynamodb:GetItem")).client("dynamodb")
        reader.get_item(TableName=table, Key=KEY)
        assert refused(reader.put_item, TableName=table, Item=KEY) == denied

    def test_an_explicit_denial_wins(self, accounts: EmulatedAccounts, table: str) -> None:
        denial = allow("dynamodb:PutItem") | {"Effect": "Deny"}
        some = user(accounts, allow("dynamodb:*"), denial).client("dynamodb")

        some.get_item(TableName=table, Key=KEY)
        assert refused(some.put_item, TableName=table, Item=KEY) == "AccessDeniedException"

    def test_a_boundary_bounds(self, accounts: EmulatedAccounts, table: str) -> None:
        boundary = policy(accounts, allow("dynamodb:GetItem"))
        bounded = user(accounts, allow("dynamodb:*"), boundary=boundary).client("dynamodb")

        bounded.get_item(TableName=table, Key=KEY)
        assert refused(bounded.put_item, TableName=table, Item=KEY) == "AccessDeniedException"

    def test_a_session_policy_bounds(self, accounts: EmulatedAccounts, table: str) -> None:
        anybody = {"AWS": f"arn:aws:iam::{accounts.account_ids['dev']}:root"}
        trust = {"Effect": "Allow", "Principal": anybody, "Action": "sts:AssumeRole"}
        arn = role(accounts, trust, allow("dynamodb:*"))
        narrowed = accounts.assume(
            accounts.session("dev"), arn, Policy=document(allow("dynamodb:GetItem"))
        ).client("dynamodb")

        narrowed.get_item(TableName=table, Key=KEY)
        assert refused(narrowed.put_item, TableName=table, Item=KEY) == "AccessDeniedException"

    def test_a_role_is_assumed_by_whom_it_trusts(self, accounts: EmulatedAccounts) -> None:
        staging = {"AWS": f"arn:aws:iam::{accounts.account_ids['staging']}:root"}
        arn = role(accounts, {"Effect": "Allow", "Principal": staging, "Action": "sts:AssumeRole"})

        assert refused(accounts.assume, accounts.session("dev"), arn) == "AccessDenied"
        assert refused(accounts.assume, accounts.session("prod"), arn) == "AccessDenied"
        without = user(accounts, profile="staging")
        assert refused(accounts.assume, without, arn) == "AccessDenied"
        caller = accounts.assume(accounts.session("staging"), arn).client("sts")
        assert caller.get_caller_identity()["Account"] == accounts.account_ids["dev"]


@pytest.fixture(scope="module")
def trusting(accounts: EmulatedAccounts) -> str:
    """In staging, where no other test registers GitHub."""
    iam = accounts.session("staging").client("iam")
    provider = iam.create_open_id_connect_provider(
        Url=f"https://{HOST}", ClientIDList=["sts.amazonaws.com"]
    )["OpenIDConnectProviderArn"]
    wanted = {f"{HOST}:aud": "sts.amazonaws.com", f"{HOST}:sub": "repo:us/it:environment:dev"}
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": wanted},
    }
    made = iam.create_role(RoleName=unique(), AssumeRolePolicyDocument=document(trust))
    return str(made["Role"]["Arn"])


class TestWebIdentity:
    CLAIMS = {  # noqa: RUF012 - nothing changes it
        "iss": f"https://{HOST}",
        "aud": "sts.amazonaws.com",
        "sub": "repo:us/it:environment:dev",
    }

    def test_the_right_token_gets_the_role(self, accounts: EmulatedAccounts, trusting: str) -> None:
        session = accounts.assume_with_token(trusting, self.CLAIMS)

        arn = session.client("sts").get_caller_identity()["Arn"]
        assert arn.endswith(f":assumed-role/{trusting.rpartition('/')[2]}/test")

    @pytest.mark.parametrize(
        ("claim", "value", "code"),
        [
            ("sub", "repo:us/it:environment:prod", "AccessDenied"),
            ("sub", "repo:us/it:environment:dev2", "AccessDenied"),
            ("sub", "repo:them/it:environment:dev", "AccessDenied"),
            ("sub", "repo:us/it:pull_request", "AccessDenied"),
            ("aud", "somebody", "AccessDenied"),
            ("iss", "https://token.example.com", "AccessDenied"),
            ("exp", 1_700_000_000, "ExpiredTokenException"),
        ],
    )
    def test_any_other_does_not(
        self, accounts: EmulatedAccounts, trusting: str, claim: str, value: Any, code: str
    ) -> None:
        claims = self.CLAIMS | {claim: value}

        assert refused(accounts.assume_with_token, trusting, claims) == code

    def test_a_provider_must_be_registered_in_the_account(self, accounts: EmulatedAccounts) -> None:
        provider = f"arn:aws:iam::{accounts.account_ids['dev']}:oidc-provider/nowhere.example.com"
        trust = {
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
        }
        arn = role(accounts, trust)
        claims = self.CLAIMS | {"iss": "https://nowhere.example.com"}

        assert refused(accounts.assume_with_token, arn, claims) == "InvalidIdentityToken"


class TestTheWayThere:
    def ask(self, accounts: EmulatedAccounts, head: str) -> str:
        proxy = urlsplit(accounts.proxy)
        with socket.create_connection((proxy.hostname or "", proxy.port or 0), 10) as connection:
            connection.sendall(f"{head}\r\nhost: x\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(4096):
                answer += part
        return answer.decode()

    @pytest.mark.parametrize(
        "target",
        [
            "registry.terraform.io:443",
            "example.com:443",
            "amazonaws.com.example.com:443",
            "fakeamazonaws.com:443",
            "sts.amazonaws.com:80",
            "127.0.0.1:443",
            "169.254.169.254:80",
        ],
    )
    def test_other_hosts_are_refused_with_the_reason(
        self, accounts: EmulatedAccounts, target: str
    ) -> None:
        answer = self.ask(accounts, f"CONNECT {target} HTTP/1.1")

        assert answer.startswith("HTTP/1.1 403 Forbidden")
        assert f"{target} is not AWS" in answer.partition("\r\n\r\n")[2]

    def test_plain_requests_are_refused(self, accounts: EmulatedAccounts) -> None:
        answer = self.ask(accounts, "GET http://sts.amazonaws.com/ HTTP/1.1")

        assert answer.startswith("HTTP/1.1 405 ")

    def test_a_host_that_no_certificate_covers_is_told_at_once(
        self, accounts: EmulatedAccounts
    ) -> None:
        answer = self.ask(accounts, "CONNECT dynamodb.mars-north-1.amazonaws.com:443 HTTP/1.1")

        assert answer.startswith("HTTP/1.1 502 Bad Gateway")
        assert "no certificate" in answer

    @pytest.mark.parametrize("host", ["iam", "sts.eu-west-1", "bucket.s3.eu-central-1", "s3"])
    def test_aws_is_the_emulator_for_who_trusts_its_authority_alone(
        self, accounts: EmulatedAccounts, host: str
    ) -> None:
        proxy, name = urlsplit(accounts.proxy), f"{host}.amazonaws.com"
        where = (proxy.hostname or "", proxy.port or 0)

        def shake(context: ssl.SSLContext) -> None:
            with socket.create_connection(where, 10) as connection:
                connection.sendall(f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode())
                assert b" 200 " in connection.recv(4096)
                context.wrap_socket(connection, server_hostname=name).close()

        shake(ssl.create_default_context(cafile=str(accounts.certificate_authority)))
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(ssl.create_default_context())

    def test_the_authoritys_key_is_nowhere(self, accounts: EmulatedAccounts) -> None:
        """So nobody can make another certificate that shells with `.dev/live.env` would take."""
        authority = x509.load_pem_x509_certificate(accounts.certificate_authority.read_bytes())
        keys = [
            serialization.load_pem_private_key(file.read_bytes(), None).public_key()
            for file in accounts.directory.rglob("*")
            if file.is_file() and b"PRIVATE KEY" in file.read_bytes()
        ]

        assert keys
        assert authority.public_key() not in keys

    def test_nothing_listens_beyond_loopback(self, accounts: EmulatedAccounts) -> None:
        assert urlsplit(accounts.proxy).hostname == "127.0.0.1"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        port = f"{urlsplit(accounts.proxy).port:04X}"
        mine = [line.split()[1] for line in lines if line.split()[1].endswith(":" + port)]
        assert [address.split(":")[0] for address in mine if address] == ["0100007F"] * len(mine)

    def test_files_are_for_their_owner_alone(self, accounts: EmulatedAccounts) -> None:
        assert stat.S_IMODE(accounts.directory.stat().st_mode) == 0o700
        for name in ("credentials", "config", "server.key", "ca.pem", "emulator.log"):
            mode = stat.S_IMODE((accounts.directory / name).stat().st_mode)
            assert mode == 0o600, name

    def test_a_child_acts_by_its_profile_whatever_the_shell_had(
        self, accounts: EmulatedAccounts
    ) -> None:
        shell = os.environ | {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "of another account",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
            "AWS_REGION": "us-west-2",
        }
        environment = accounts.environment("staging")
        code = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=without_foreign(shell) | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert done.stdout.strip() == accounts.account_ids["staging"], done.stderr
        assert not [name for name in environment if name.startswith("AWS_ENDPOINT_URL")]


class TestLife:
    @pytest.fixture
    def own(self, tmp_path: Path) -> Iterator[EmulatedAccounts]:
        """One of the test's own, to be stopped and killed."""
        found = EmulatedAccounts(tmp_path / "own")
        yield found
        found.stop()

    def bucket(self, accounts: EmulatedAccounts) -> str:
        name = unique("bucket")
        accounts.session("dev").client("s3").create_bucket(
            Bucket=name,
            CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
        )
        return name

    def buckets(self, accounts: EmulatedAccounts) -> list[str]:
        return [b["Name"] for b in accounts.session("dev").client("s3").list_buckets()["Buckets"]]

    def test_what_they_hold_is_there_again_after_a_stop(self, own: EmulatedAccounts) -> None:
        own.start(detached=True)
        made, credentials = self.bucket(own), (own.directory / "credentials").read_text()
        where = own.proxy
        own.stop()
        assert own.pid is None

        own.start(detached=True)
        assert self.buckets(own) == [made]
        assert (own.directory / "credentials").read_text() == credentials
        assert own.proxy == where, "shells that have sourced live.env would be lost"

    def test_another_handle_finds_and_stops_them(self, own: EmulatedAccounts) -> None:
        assert not own.attach()
        own.start(detached=True)
        other = EmulatedAccounts(own.directory)

        assert other.attach()
        assert other.proxy == own.proxy
        assert other.session("prod").client("sts").get_caller_identity()["Account"]
        other.start(detached=True)
        assert other.pid == own.pid
        other.stop()
        assert own.pid is None

    def test_after_a_kill_they_begin_empty_rather_than_torn(self, own: EmulatedAccounts) -> None:
        own.start(detached=True)
        self.bucket(own)
        children = Path(f"/proc/{own.pid}/task/{own.pid}/children").read_text().split()
        assert own.pid is not None
        os.kill(own.pid, signal.SIGKILL)
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
        _eventually(lambda: own.pid is None)

        own.start(detached=True)
        assert self.buckets(own) == []
        assert "beginning with empty accounts" in own.log.read_text()
        assert own.session("dev").client("sts").get_caller_identity()["Account"]

    def test_they_end_with_the_process_that_holds_them(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from scripts.live_local.accounts import EmulatedAccounts\n"
            "with EmulatedAccounts(sys.argv[1]) as a: print(a.pid, flush=True); time.sleep(600)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            pid = int(holder.stdout.readline())
            assert supervisor.running(tmp_path) == pid
            holder.kill()

        _eventually(lambda: supervisor.running(tmp_path) is None)
        assert not (tmp_path / "unsaved").exists(), "it should have been stopped, not killed"

    def test_an_id_in_the_file_is_no_process_of_ours_unless_it_holds_the_lock(
        self, own: EmulatedAccounts
    ) -> None:
        own.directory.mkdir()
        with subprocess.Popen(["sleep", "600"]) as stranger:
            (own.directory / "supervisor.lock").write_text(f"{stranger.pid}\n")

            assert own.pid is None
            own.stop()
            assert stranger.poll() is None
            stranger.kill()

    def test_one_that_cannot_start_says_why(
        self, own: EmulatedAccounts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LIVE_LOCAL_LOG_LEVEL", "NONSENSE")
        monkeypatch.setattr(sys, "executable", "/bin/false")

        with pytest.raises(AccountsError, match="ended at once"):
            own.start(detached=True)


class TestCertificates:
    def test_they_are_kept_while_they_are_good(self, tmp_path: Path) -> None:
        made = certificates.ensure(tmp_path, ["eu-central-1"])
        first = made.server.read_bytes()

        assert certificates.ensure(tmp_path, ["eu-central-1"]).server.read_bytes() == first
        again = certificates.ensure(tmp_path, ["eu-central-1", "eu-west-1"])
        assert again.server.read_bytes() != first

    def test_a_torn_one_is_made_anew(self, tmp_path: Path) -> None:
        made = certificates.ensure(tmp_path, ["eu-central-1"])
        made.server.write_text("torn")

        certificates.ensure(tmp_path, ["eu-central-1"])
        assert b"BEGIN CERTIFICATE" in made.server.read_bytes()

    @pytest.mark.parametrize(
        ("host", "covered"),
        [
            ("sts.amazonaws.com", True),
            ("sts.eu-central-1.amazonaws.com", True),
            ("111122223333.ddb.eu-central-1.amazonaws.com", True),
            ("111122223333.dkr.ecr.eu-central-1.amazonaws.com", True),
            ("api.ecr.eu-central-1.amazonaws.com", True),
            ("bucket.s3.eu-central-1.amazonaws.com", True),
            ("bucket.with.dots.s3.eu-central-1.amazonaws.com", False),
            ("sts.eu-west-2.amazonaws.com", False),
            ("amazonaws.com", False),
        ],
    )
    def test_what_is_covered(self, host: str, covered: bool) -> None:
        names = certificates.names(["eu-central-1"])

        assert certificates.covers(names, host) is covered
        assert (Proxy(1, names).refusal("CONNECT", f"{host}:443") is None) is covered


def _eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.05)
