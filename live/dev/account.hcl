locals {
  environment = "dev"
  account_id  = "111122223333"

  # Only dev may be thrown away: it drives the deletion protection of everything that holds data.
  disposable = true

  primary_region = "eu-central-1"

  # The fence. Documents are written in this region alone: every other region's role is denied
  # writes. Moving it is a failover: docs/runbooks/ tells what must be true before.
  writable_region = "eu-central-1"

  # Another name only after a restore, which always makes a new table.
  table_name = "strongroom-dev"

  # Who may administer the cluster: roles of this account.
  operators = ["arn:aws:iam::111122223333:role/platform-operator"]

  # Who approves an apply: the reviewers of the GitHub environment "dev".
  approvers = []

  sizing = {
    architecture        = "x86_64" # or "arm64": instance types and images follow
    nat                 = "single"
    interface_endpoints = false # without them AWS is reached through NAT
    log_retention_days  = 14
    nodes = {
      size          = "large"
      capacity_type = "SPOT"
      min           = 1
      desired       = 2
      max           = 4
    }
  }
}
