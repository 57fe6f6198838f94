"""Tenants: their state, their quota, and the limits that keep one from being felt by others."""
