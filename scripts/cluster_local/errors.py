"""What keeps the cluster from being there, in words that say what to do."""


class ClusterError(Exception):
    """For the one who typed the command."""
