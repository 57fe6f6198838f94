terraform {
  source = "${get_parent_terragrunt_dir("unit")}/../../modules/workload-identity"
}

locals {
  here = read_terragrunt_config("${get_parent_terragrunt_dir("unit")}/../here.hcl").locals
}

dependency "ci_identity" {
  config_path                             = "${local.here.primary_dir}/ci-identity"
  mock_outputs                            = local.here.mocks.ci_identity
  mock_outputs_allowed_terraform_commands = local.here.mocks_allowed
}

dependency "cluster" {
  config_path                             = "${get_terragrunt_dir()}/../cluster"
  mock_outputs                            = local.here.mocks.cluster
  mock_outputs_allowed_terraform_commands = local.here.mocks_allowed
}

dependency "document_store" {
  config_path                             = "${local.here.primary_dir}/document-store"
  mock_outputs                            = local.here.mocks.document_store
  mock_outputs_allowed_terraform_commands = local.here.mocks_allowed
}

inputs = {
  name              = local.here.name
  oidc_provider_arn = dependency.cluster.outputs.oidc_provider_arn
  oidc_issuer       = dependency.cluster.outputs.oidc_issuer
  namespace         = local.here.name
  service_account   = local.here.project.name

  table_arn  = dependency.document_store.outputs.regions[local.here.region.name].table_arn
  index_arn  = dependency.document_store.outputs.regions[local.here.region.name].index_arn
  bucket_arn = dependency.document_store.outputs.regions[local.here.region.name].bucket_arn
  key_arns   = dependency.document_store.outputs.regions[local.here.region.name].key_arns

  writable                 = local.here.region.name == local.here.account.writable_region
  permissions_boundary_arn = dependency.ci_identity.outputs.permissions_boundary_arn
}
