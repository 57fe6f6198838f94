"""What `live/` sets and ministack forgets or lacks.

Without these the second plan would replace what the first apply made. Each is told in
docs/live-local.md, with a test in tests/infrastructure/test_live_local_additions.py.
"""

from __future__ import annotations

from scripts.live_local.additions import dynamodb, ec2, ecr, eks, iam


def install() -> None:
    """Before ministack's first request, in its process."""
    for addition in (dynamodb, ec2, ecr, eks, iam):
        addition.install()
