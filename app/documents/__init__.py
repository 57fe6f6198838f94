"""The documents feature: calls, rules, lists."""
