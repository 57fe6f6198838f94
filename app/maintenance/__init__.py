"""Upkeep: removing what nothing points at, and proving that all that is pointed at is there."""
