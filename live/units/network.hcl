terraform {
  source = "${get_parent_terragrunt_dir("unit")}/../../modules/network"
}

locals {
  here = read_terragrunt_config("${get_parent_terragrunt_dir("unit")}/../here.hcl").locals
}

dependency "ci_identity" {
  config_path                             = "${local.here.primary_dir}/ci-identity"
  mock_outputs                            = local.here.mocks.ci_identity
  mock_outputs_allowed_terraform_commands = local.here.mocks_allowed
}

inputs = {
  name                     = local.here.name
  cidr                     = local.here.region.cidr
  availability_zones       = local.here.region.availability_zones
  nat                      = local.here.account.sizing.nat
  interface_endpoints      = local.here.account.sizing.interface_endpoints ? null : []
  flow_log_retention_days  = local.here.account.sizing.log_retention_days
  permissions_boundary_arn = dependency.ci_identity.outputs.permissions_boundary_arn
}
