"""The service on a real cluster, on this machine, as Argo CD runs it: docs/cluster-local.md."""
