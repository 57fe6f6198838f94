# Read by every unit: as whom it may act, and where its state lives.
terragrunt_version_constraint = ">= 1.1.0, < 2.0.0"
terraform_version_constraint  = ">= 1.11.0, < 2.0.0"
terraform_binary              = "terraform"

locals {
  here = read_terragrunt_config("${get_parent_terragrunt_dir()}/here.hcl").locals
}

# A unit of an account that is not disposable is destroyed by nobody's slip.
prevent_destroy = !local.here.disposable

terraform {
  # The locks that `make providers-lock` writes are the modules'; a run adds none to the tree.
  copy_terraform_lock_file = false

  # Where a module has checksums of the provider, no other provider is taken, and none is added.
  extra_arguments "checksums" {
    commands = ["init"]
    arguments = fileexists("${get_parent_terragrunt_dir()}/../modules/${basename(local.here.unit)}/.terraform.lock.hcl") ? [
      "-lockfile=readonly",
    ] : []
  }

  # Whoever calls Terragrunt itself comes by here too: what must not run is refused. See docs/platform.md.
  before_hook "guard" {
    commands = ["apply", "destroy", "import", "plan", "refresh", "state", "taint", "untaint"]
    execute = concat([
      "env", "PYTHONPATH=${get_parent_terragrunt_dir()}/..",
      "python3", "-m", "scripts.platform", "guard", local.here.environment, local.here.unit,
      local.here.disposable ? "disposable" : "protected", "--",
    ], get_terraform_cli_args())
  }
}

remote_state {
  backend = "s3"
  generate = {
    path      = "backend.tf"
    if_exists = "overwrite_terragrunt"
  }
  config = {
    bucket               = local.here.state_bucket
    key                  = "${local.here.unit}/terraform.tfstate"
    region               = local.here.account.primary_region
    use_lockfile         = true
    encrypt              = true
    bucket_sse_algorithm = "AES256"
    allowed_account_ids  = [local.here.account.account_id]
  }
}

generate "provider" {
  path      = "provider.tf"
  if_exists = "overwrite_terragrunt"
  contents  = <<-HCL
    provider "aws" {
      region              = "${local.here.region.name}"
      allowed_account_ids = ["${local.here.account.account_id}"]

      default_tags {
        tags = {
          Project     = "${local.here.project.name}"
          Environment = "${local.here.environment}"
          Unit        = "${local.here.unit}"
          ManagedBy   = "terraform"
        }
      }
    }
  HCL
}

errors {
  retry "transient" {
    max_attempts       = 3
    sleep_interval_sec = 10
    # A plan alone is tried again. What an apply has begun is not in its plan any more: a second try
    # of the same file is stale, and of a new one was reviewed by nobody.
    retryable_errors = get_terraform_command() != "plan" ? [] : [
      "(?s).*RequestError: send request failed.*",
      "(?s).*TLS handshake timeout.*",
      "(?s).*connection reset by peer.*",
      "(?s).*ThrottlingException.*",
      "(?s).*Rate exceeded.*",
    ]
  }
}
