"""The API keys, as a feature of the service."""

from __future__ import annotations

from app.feature import Feature
from app.keys.dynamodb import KINDS

FEATURE = Feature(kinds=KINDS)
