locals {
  environment = "prod"
  account_id  = "333344445555"

  # Only dev may be thrown away: it drives the deletion protection of everything that holds data.
  disposable = false

  primary_region = "eu-central-1"

  # The fence. Documents are written in this region alone: every other region's role is denied
  # writes. Moving it is a failover: docs/runbooks/ tells what must be true before.
  writable_region = "eu-central-1"

  # Another name only after a restore, which always makes a new table.
  table_name = "strongroom-prod"

  # Who may administer the cluster: roles of this account.
  operators = ["arn:aws:iam::333344445555:role/platform-operator"]

  # Who approves an apply: the reviewers of the GitHub environment "prod".
  approvers = ["platform", "security"]

  sizing = {
    architecture        = "x86_64" # or "arm64": instance types and images follow
    nat                 = "per_az"
    interface_endpoints = true # without them AWS is reached through NAT
    log_retention_days  = 365
    nodes = {
      size          = "xlarge"
      capacity_type = "ON_DEMAND"
      min           = 3
      desired       = 3
      max           = 12
    }
  }
}
