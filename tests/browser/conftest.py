"""One server process for the browser."""

from __future__ import annotations

from tests.api.conftest import service

__all__ = ["service"]
