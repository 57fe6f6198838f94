"""One server process for the generated clients, and its OpenAPI document."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.conftest import service
from tests.support.service import Service

__all__ = ["document", "service"]


@pytest.fixture
def document(service: Service, tmp_path: Path) -> Path:
    """The document as the service serves it, in a file."""
    file = tmp_path / "openapi.json"
    file.write_bytes(service.request("GET", "/openapi.json", key=None).body)
    return file
