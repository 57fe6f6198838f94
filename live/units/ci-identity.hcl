# The first unit of an account, applied by an administrator: the boundary of every role, and the
# roles that workflows assume. Once per account, as IAM is global.
terraform {
  source = "${get_parent_terragrunt_dir("unit")}/../../modules/ci-identity"
}

locals {
  here = read_terragrunt_config("${get_parent_terragrunt_dir("unit")}/../here.hcl").locals
}

inputs = {
  name         = local.here.name
  environment  = local.here.environment
  github       = local.here.project.github
  state_bucket = local.here.state_bucket
  regions      = local.here.project.regions[local.here.environment]

  push_repository_arns = local.here.environment != local.here.project.image_source ? [] : [
    "arn:aws:ecr:${local.here.region.name}:${local.here.account.account_id}:repository/${local.here.project.name}",
  ]
}
