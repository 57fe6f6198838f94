"""Why a command ends early. The message says what to do next."""

from __future__ import annotations


class PlatformError(Exception):
    """Something is missing, or did not work."""


class Refused(PlatformError):
    """It could be done, and must not be."""
