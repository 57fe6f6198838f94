terraform {
  source = "${get_parent_terragrunt_dir("unit")}/../../modules/cluster"
}

locals {
  here = read_terragrunt_config("${get_parent_terragrunt_dir("unit")}/../here.hcl").locals
}

dependency "ci_identity" {
  config_path                             = "${local.here.primary_dir}/ci-identity"
  mock_outputs                            = local.here.mocks.ci_identity
  mock_outputs_allowed_terraform_commands = local.here.mocks_allowed
}

dependency "network" {
  config_path                             = "${get_terragrunt_dir()}/../network"
  mock_outputs                            = local.here.mocks.network
  mock_outputs_allowed_terraform_commands = local.here.mocks_allowed
}

inputs = {
  name                     = local.here.name
  kubernetes_version       = local.here.account.kubernetes_version
  addon_versions           = local.here.account.addon_versions
  vpc_id                   = dependency.network.outputs.vpc_id
  private_subnet_ids       = dependency.network.outputs.private_subnet_ids
  private_access_cidrs     = [local.here.region.cidr]
  log_retention_days       = local.here.account.sizing.log_retention_days
  deletion_protection      = !local.here.disposable
  permissions_boundary_arn = dependency.ci_identity.outputs.permissions_boundary_arn

  node_groups = {
    main = {
      architecture    = local.here.account.sizing.architecture
      instance_types  = local.here.instance_types
      capacity_type   = local.here.account.sizing.nodes.capacity_type
      min_size        = local.here.account.sizing.nodes.min
      desired_size    = local.here.account.sizing.nodes.desired
      max_size        = local.here.account.sizing.nodes.max
      disk_gib        = 50
      release_version = local.here.account.release_version
    }
  }

  access = {
    for role in local.here.account.operators :
    basename(role) => { principal_arn = role, policy = "cluster-admin" }
  }
}
