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

  # What the cluster runs. dev goes first: docs/runbooks/ordinary-change.md. `versions.yml` proposes
  # the nodes' image each week; EKS upgrades a cluster by itself when standard support ends.
  kubernetes_version = "1.36"
  release_version    = "1.36.4-20260917"
  addon_versions = {
    coredns        = "v1.14.3-eksbuild.23"
    kube-proxy     = "v1.36.0-eksbuild.25"
    metrics-server = "v0.9.0-eksbuild.11"
    vpc-cni        = "v1.22.4-eksbuild.3"
  }

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
