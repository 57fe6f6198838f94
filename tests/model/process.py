"""The service with faults, and with pauses between tries that cost a test no time."""

from __future__ import annotations

import sys

import app.bootstrap
from app.aws import dynamodb, s3_client
from app.cli import main
from tests.faults.injector import FaultyTransport

if __name__ == "__main__":
    dynamodb._FIRST_PAUSE_SECONDS = 0.002
    dynamodb._LONGEST_PAUSE_SECONDS = 0.05
    s3_client._FIRST_PAUSE_SECONDS = 0.005
    app.bootstrap.Transport = FaultyTransport  # type: ignore[attr-defined]
    sys.exit(main())
