"""The command line with the fault injector in place: python -m tests.faults.process serve"""

from __future__ import annotations

import sys

import app.bootstrap
from app.cli import main
from tests.faults.injector import FaultyTransport

if __name__ == "__main__":
    app.bootstrap.Transport = FaultyTransport  # type: ignore[attr-defined]
    sys.exit(main())
