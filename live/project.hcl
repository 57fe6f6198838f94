# What all accounts share. Replace the owner, the repository and their ids with yours:
#   gh api repos/OWNER/REPOSITORY --jq '{owner: .owner.id, repository: .id}'
locals {
  name = "strongroom"

  # Whose workflows may assume the roles of `ci-identity`.
  github = {
    owner         = "example-org"
    owner_id      = "1000001"
    repository    = "strongroom"
    repository_id = "2000002"
  }

  # The environment whose registry releases are pushed to; it replicates to all others.
  image_source = "dev"

  # The regions of each environment, its primary first.
  regions = {
    dev     = ["eu-central-1"]
    staging = ["eu-central-1"]
    prod    = ["eu-central-1", "eu-west-1"]
  }
}
