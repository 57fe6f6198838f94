# Releases are pushed to one registry, which sends them on to all others.
terraform {
  source = "${get_parent_terragrunt_dir("unit")}/../../modules/registry"
}

locals {
  here = read_terragrunt_config("${get_parent_terragrunt_dir("unit")}/../here.hcl").locals
}

inputs = {
  repositories = [local.here.project.name]
  force_delete = local.here.disposable

  replication_destinations       = local.here.image_destinations
  replication_source_account_ids = local.here.image_sources
}
