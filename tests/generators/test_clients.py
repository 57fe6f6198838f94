"""Clients that generators make of the OpenAPI document have every call, and call the service."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.engines import missing
from tests.support.service import ROOT, Service

TOOL = ROOT / ".tools" / "openapi-python-client" / "bin"


def test_a_generated_python_client_has_every_call_and_calls_it(
    service: Service, tmp_path: Path
) -> None:
    if not (TOOL / "openapi-python-client").exists():
        missing("openapi-python-client is not in .tools: .ci/run installs it")
    document = tmp_path / "openapi.json"
    document.write_bytes(service.request("GET", "/openapi.json", key=None).body)
    client = tmp_path / "client"
    made = subprocess.run(
        [TOOL / "openapi-python-client", "generate", "--path", document, "--output-path", client],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    warnings = [
        line
        for line in (made.stdout + made.stderr).splitlines()
        if "WARNING" in line or "will not be generated" in line or "omitted" in line
    ]
    assert warnings == []
    used = subprocess.run(
        [TOOL / "python", Path(__file__).with_name("python_client.py"), service.url, service.key],
        env=os.environ | {"PYTHONPATH": str(client)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert used.returncode == 0, used.stdout + used.stderr
    assert used.stdout == "all calls answered as documented\n"
