"""The process that speaks HTTP: connections, framing, timeouts, drain."""
