"""Callers by OpenID Connect: tokens of the issuers that the platform trusts, beside API keys."""
