# Releases are pushed to one registry, which sends them on to those of all accounts and regions.
terraform {
  source = "${get_parent_terragrunt_dir("unit")}/../../modules/registry"
}

locals {
  here = read_terragrunt_config("${get_parent_terragrunt_dir("unit")}/../here.hcl").locals

  account_ids = {
    for environment in keys(local.here.project.regions) :
    environment => read_terragrunt_config("${get_parent_terragrunt_dir("unit")}/../${environment}/account.hcl").locals.account_id
  }
  everywhere = flatten([
    for environment, regions in local.here.project.regions : [
      for region in regions : { account_id = local.account_ids[environment], region = region }
    ]
  ])
  this   = { account_id = local.here.account.account_id, region = local.here.region.name }
  source = local.here.environment == local.here.project.image_source && local.here.primary
}

inputs = {
  repositories = [local.here.project.name]
  force_delete = local.here.disposable

  replication_destinations       = [for other in local.everywhere : other if local.source && other != local.this]
  replication_source_account_ids = local.source ? [] : [local.account_ids[local.here.project.image_source]]
}
