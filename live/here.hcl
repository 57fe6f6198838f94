# Where the unit is that reads this: its project, account and region, and what follows from them.
locals {
  unit_dir = get_original_terragrunt_dir()
  unit     = "${basename(dirname(local.unit_dir))}/${basename(local.unit_dir)}"

  project = read_terragrunt_config("${get_terragrunt_dir()}/project.hcl").locals
  account = read_terragrunt_config("${local.unit_dir}/../../account.hcl").locals
  region  = read_terragrunt_config("${local.unit_dir}/../region.hcl").locals

  environment = local.account.environment
  primary     = local.region.role == "primary"

  # What is unique within an account; the replica's region adds its own name.
  name = join("-", compact([
    local.project.name, local.environment, local.primary ? "" : local.region.name,
  ]))

  # What must be unique in the world.
  buckets = {
    for region in local.project.regions[local.environment] :
    region => "${local.project.name}-${local.environment}-${local.account.account_id}-${region}"
  }
  state_bucket = "${local.project.name}-${local.environment}-${local.account.account_id}-tfstate"

  # One value chooses the processor; images must be built for it.
  instance_types = [
    for family in { arm64 = ["m7g", "m6g"], x86_64 = ["m7i", "m6i"] }[local.account.sizing.architecture] :
    "${family}.${local.account.sizing.nodes.size}"
  ]

  # Units that each account has once, in its primary region.
  primary_dir = "${local.unit_dir}/../../${local.account.primary_region}"

  # What is not allowed stops Terragrunt: a message is no bool, and is told in the error.
  refused = [
    for message, wrong in {
      "account.hcl: writable_region must be one of the environment's regions in project.hcl" = !contains(keys(local.buckets), local.account.writable_region)
      "account.hcl: only dev may be disposable"                                              = local.account.disposable && local.environment != "dev"
      "account.hcl: environment must be the name of its folder"                              = local.environment != basename(dirname(dirname(local.unit_dir)))
      "account.hcl: release_version must be an image of kubernetes_version"                  = !startswith(local.account.release_version, "${local.account.kubernetes_version}.")
      "account.hcl: addon_versions must name a kube-proxy of kubernetes_version"             = !startswith(lookup(local.account.addon_versions, "kube-proxy", ""), "v${local.account.kubernetes_version}.")
      "region.hcl: name must be the name of its folder"                                      = local.region.name != basename(dirname(local.unit_dir))
    } : tobool(message) if wrong
  ]

  # Destroying another account takes its name, given by hand for one command.
  disposable = local.account.disposable || get_env("STRONGROOM_DESTROY", "") == local.environment

  # Stand-ins for outputs of units that are not there yet. Nobody applies these: only `validate`
  # sees them, and a preview, whose plan is not stored. See docs/infrastructure.md.
  mocks_allowed = concat(["validate"], get_env("STRONGROOM_PREVIEW", "") == "yes" ? ["plan"] : [])
  mocks = {
    ci_identity = {
      permissions_boundary_arn = "arn:aws:iam::${local.account.account_id}:policy/mock-boundary"
    }
    network = {
      vpc_id             = "vpc-mock0000"
      private_subnet_ids = ["subnet-mock0001", "subnet-mock0002", "subnet-mock0003"]
    }
    cluster = {
      oidc_provider_arn = "arn:aws:iam::${local.account.account_id}:oidc-provider/mock-issuer"
      oidc_issuer       = "mock-issuer"
    }
    document_store = {
      regions = {
        for region in local.project.regions[local.environment] : region => {
          table_name  = "mock-table"
          table_arn   = "arn:aws:dynamodb:${region}:${local.account.account_id}:table/mock-table"
          index_arn   = "arn:aws:dynamodb:${region}:${local.account.account_id}:table/mock-table/index/due"
          bucket_name = "mock-bucket"
          bucket_arn  = "arn:aws:s3:::mock-bucket"
          key_arns    = ["arn:aws:kms:${region}:${local.account.account_id}:key/mock-key"]
        }
      }
    }
  }
}
