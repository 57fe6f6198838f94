"""What is tried of the delivery only when asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SLOW = {"test_chart_cluster.py", "test_chart_analysis.py", "test_gitops.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("STRONGROOM_FULL") == "1":
        return
    slow = pytest.mark.skip(reason="takes minutes: make check-chart")
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name in _SLOW:
            item.add_marker(slow)
