"""Idempotency-Key: each write at most once, whatever it answers."""
