# The table and the bucket, in the primary region; the module makes their replicas too.
terraform {
  source = "${get_parent_terragrunt_dir("unit")}/../../modules/document-store"
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
  name        = local.here.name
  table_name  = local.here.account.table_name
  bucket_name = local.here.buckets[local.here.region.name]
  disposable  = local.here.disposable

  # As CORS_ORIGINS of the service, if web pages upload straight to S3.
  cors_origins = try(local.here.account.cors_origins, [])

  replicas = {
    for region, bucket in local.here.buckets :
    region => { bucket_name = bucket } if region != local.here.region.name
  }

  permissions_boundary_arn = dependency.ci_identity.outputs.permissions_boundary_arn
}
