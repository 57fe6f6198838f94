"""The command line, as an operator meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.settings import Settings
from tests.support.engines import Engine, free_port

ROOT = Path(__file__).parents[1]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and name not in ("DYNAMODB_TABLE", "S3_BUCKET", "PORT")
    }
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def on(engine: Engine, name: str) -> dict[str, str]:
    return {
        "DYNAMODB_TABLE": name,
        "S3_BUCKET": name,
        "AWS_ENDPOINT_URL": engine.url,
        "AWS_ACCESS_KEY_ID": engine.access_key,
        "AWS_SECRET_ACCESS_KEY": engine.secret_key,
        "AWS_REGION": engine.region,
    }


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["dev"],
        ["provision"],
        ["sweep"],
        ["verify"],
        ["restore"],
        ["keys"],
        ["keys", "create"],
        ["keys", "list"],
        ["keys", "revoke"],
        ["keys", "rotate"],
        ["tenants"],
        ["tenants", "list"],
        ["tenants", "show"],
        ["tenants", "set-quota"],
        ["tenants", "set-rate"],
        ["tenants", "suspend"],
        ["tenants", "resume"],
        ["tenants", "purge"],
        ["usage"],
        ["usage", "reconcile"],
        ["probe"],
    ],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: python -m app" in done.stdout
    assert len(done.stdout.splitlines()) > 4
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_help_tells_every_setting() -> None:
    help_text = run("serve", "--help").stdout
    for name in Settings.model_fields:
        assert f"  {name.upper()} " in help_text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--bogus"],
        ["nonsense"],
        ["probe", "--bogus"],
        ["keys", "list"],
        ["keys", "list", "--all", "--tenant", "acme"],
        ["keys", "create", "--tenant", "acme", "--scope", "everything"],
        ["restore", "--recovery-days", "36"],
        ["tenants", "set-quota", "acme"],
        ["tenants", "set-rate", "acme", "--default", "--waiting", "3"],
        ["tenants", "purge"],
        ["usage", "reconcile", "acme"],
    ],
)
def test_a_wrong_call_tells_how_the_command_is_called(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: python -m app" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_probe_imports_neither_the_settings_nor_the_service() -> None:
    code = (
        "import sys; from app.cli import main; main(['probe', '--help']);"
        "sys.exit(str([n for n in sys.modules if n.startswith(('pydantic', 'sanic', 'app.boot'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("strongroom pro", "provision probe"),
        ("strongroom keys re", "revoke"),
        ("strongroom keys ro", "rotate"),
        ("strongroom restore --post", "--postpone-purges-days"),
        ("strongroom keys create --scope doc", "documents:read documents:write"),
    ],
)
def test_bash_completes_commands_options_and_values(typed: str, offered: str) -> None:
    script = (
        'eval "$(_STRONGROOM_COMPLETE=bash_source strongroom)"\n'
        f"COMP_WORDS=({typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        '_strongroom_completion strongroom; echo "${COMPREPLY[*]}"'
    )
    path = f"{ROOT / 'scripts'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.stdout.split() == offered.split(), done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_get_a_script_and_what_it_asks_for(shell: str) -> None:
    variable = "_STRONGROOM_COMPLETE"
    assert f"{variable}={shell}_complete" in run(**{variable: f"{shell}_source"}).stdout
    asked = {variable: f"{shell}_complete", "COMP_WORDS": "strongroom swe", "COMP_CWORD": "1"}
    if shell == "fish":
        asked["COMP_CWORD"] = "swe"
    assert "sweep" in run(**asked).stdout


@pytest.mark.parametrize("command", [["serve"], ["provision"], ["keys", "list", "--all"]])
def test_a_bad_configuration_is_one_message_that_names_every_variable(command: list[str]) -> None:
    done = run(*command, PORT="99999999", S3_BUCKET="Not_A_Bucket", LIST_SHARDS="many")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for name in ("DYNAMODB_TABLE", "S3_BUCKET", "PORT", "LIST_SHARDS"):
        assert f"  {name}: " in done.stderr
    assert "Not_A_Bucket" not in done.stderr


def test_a_bad_aws_setting_is_one_message(ministack: Engine) -> None:
    for bad in ({"AWS_ENDPOINT_URL": "ftp://x"}, {"AWS_PROFILE": "missing"}):
        done = run("keys", "list", "--all", **(on(ministack, "unused") | bad))
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_one_message(ministack: Engine) -> None:
    port = ministack.url.rpartition(":")[2]
    done = run("serve", **(on(ministack, "unused") | {"HOST": "127.0.0.1", "PORT": port}))
    assert done.returncode == 2
    assert "Set PORT to a free port" in done.stderr


def test_a_metrics_port_that_is_taken_is_one_message(ministack: Engine) -> None:
    port = ministack.url.rpartition(":")[2]
    variables = on(ministack, "unused") | {"HOST": "127.0.0.1", "PORT": "0", "METRICS_PORT": port}
    done = run("serve", **variables)
    assert done.returncode == 2
    assert "Set METRICS_PORT to a free port" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_keys_are_created_listed_and_revoked(ministack: Engine) -> None:
    variables = on(ministack, "cli-keys")
    for said in ("created", "exists, as it should be"):
        done = run("provision", **variables)
        assert done.returncode == 0, done.stderr
        assert f"table cli-keys: {said}" in done.stdout
        assert f"bucket cli-keys: {said}" in done.stdout
    made = run("keys", "create", "--tenant", "acme", "--json", **variables)
    [key] = json.loads(made.stdout)
    assert key["key"].startswith(f"sr_{key['id']}_")
    assert key["scopes"] == ["documents:read", "documents:write"]
    listed = json.loads(run("keys", "list", "--tenant", "acme", "--json", **variables).stdout)
    assert [one["id"] for one in listed] == [key["id"]]
    assert "key" not in listed[0]
    assert run("keys", "revoke", key["id"], **variables).returncode == 0
    listed = json.loads(run("keys", "list", "--all", "--json", **variables).stdout)
    assert listed[0]["revoked_at"]
    arguments = ("--key-prefix", "a/", "--rate-per-second", "2.5")
    [old] = json.loads(
        run("keys", "create", "--tenant", "acme", "--json", *arguments, **variables).stdout
    )
    assert (old["key_prefix"], old["rate_per_second"]) == ("a/", 2.5)
    rotate = ("keys", "rotate", old["id"], "--overlap-seconds", "3600")
    [new] = json.loads(run(*rotate, "--json", **variables).stdout)
    assert new["key"].startswith(f"sr_{new['id']}_")
    assert (new["key_prefix"], new["rate_per_second"], new["expires_at"]) == ("a/", 2.5, None)
    for ended in (key["id"], "nosuchkey"):
        done = run("keys", "rotate", ended, "--overlap-seconds", "0", **variables)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    missing = run("keys", "revoke", "nosuchkey", **variables)
    assert missing.returncode == 1
    assert "there is no key nosuchkey" in missing.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tenant", "A B"],
        ["--tenant", "acme", "--expires", "soon"],
        ["--tenant", "acme", "--expires", "2001-01-01T00:00:00Z"],
        ["--tenant", "acme", "--key-prefix", "/a"],
        ["--tenant", "acme", "--key-prefix", "a/../b"],
        ["--tenant", "acme", "--rate-per-second", "0"],
    ],
)
def test_a_key_that_cannot_be_is_refused(arguments: list[str], ministack: Engine) -> None:
    done = run("keys", "create", *arguments, **on(ministack, "unused"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_provision_refuses_what_differs_and_changes_nothing(ministack: Engine) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=ministack.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket="cli-differs")
    done = run("provision", **on(ministack, "cli-differs"))
    assert done.returncode == 1
    assert "bucket cli-differs: exists, but differs" in done.stderr
    assert "versioning is not enabled" in done.stderr
    assert "Status" not in client.get_bucket_versioning(Bucket="cli-differs")


def test_a_probe_of_nothing_fails_in_one_line() -> None:
    done = run("probe", f"http://127.0.0.1:{free_port()}/livez")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_probe_asks_what_it_was_given() -> None:
    """The query too: `?deep` is another question."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        done = run("probe", f"http://127.0.0.1:{server.server_port}/readyz?deep")
    assert (done.returncode, done.stdout) == (0, "200 /readyz?deep\n")
