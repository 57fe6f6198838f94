variable "name" {
  description = "Prefix of everything in the account, as in `strongroom-dev`: the apply role manages roles, policies, tables and buckets of this prefix alone."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,38}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 40 lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen, as in strongroom-dev."
  }
}

variable "environment" {
  description = "Environment that the account is: it names the GitHub environments that may assume the roles, unless these are given."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment))
    error_message = "environment must be 1 to 20 lower-case letters, digits and hyphens, beginning with a letter, as in dev."
  }
}

variable "github" {
  description = "Repository whose workflows may assume the roles, spelled as GitHub spells it (subjects are compared by case), with the numbers of owner and repository: `gh api repos/OWNER/REPOSITORY --jq '.owner.id, .id'`."
  type = object({
    owner         = string
    owner_id      = optional(string)
    repository    = string
    repository_id = optional(string)
  })

  validation {
    condition     = can(regex("^[A-Za-z0-9]([A-Za-z0-9-]{0,37}[A-Za-z0-9])?$", var.github.owner))
    error_message = "github.owner must be a user's or an organization's name, without a host, a slash or a wildcard."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,100}$", var.github.repository))
    error_message = "github.repository must be the repository's name alone, without its owner, a slash or a wildcard."
  }

  validation {
    condition = alltrue([
      for id in [var.github.owner_id, var.github.repository_id] :
      id == null || can(regex("^[1-9][0-9]*$", id))
    ])
    error_message = "github.owner_id and github.repository_id must be the numbers that GitHub gave: gh api repos/OWNER/REPOSITORY --jq '.owner.id, .id'."
  }
}

variable "immutable_subject" {
  description = "Whether the repository's tokens name owner and repository with their ids, as those of repositories made since July 2026 do (older ones can be switched). Only `false` where they do not: a name can be taken over by another."
  type        = bool
  default     = true

  validation {
    condition     = !var.immutable_subject || (var.github.owner_id != null && var.github.repository_id != null)
    error_message = "immutable_subject needs github.owner_id and github.repository_id: gh api repos/OWNER/REPOSITORY --jq '.owner.id, .id'. Only a repository whose tokens have the old subject sets it to false."
  }
}

variable "plan_environment" {
  description = "GitHub environment whose jobs may assume the plan role; `<environment>-plan` if null."
  type        = string
  default     = null

  validation {
    condition     = var.plan_environment == null || can(regex("^[A-Za-z0-9_.-]{1,100}$", var.plan_environment))
    error_message = "plan_environment must be the name of one GitHub environment: letters, digits, dots, hyphens and underscores, no wildcard."
  }
}

variable "apply_environment" {
  description = "GitHub environment whose jobs may assume the apply role; `<environment>` if null. It must have reviewers, and be limited to the default branch."
  type        = string
  default     = null

  validation {
    condition     = var.apply_environment == null || can(regex("^[A-Za-z0-9_.-]{1,100}$", var.apply_environment))
    error_message = "apply_environment must be the name of one GitHub environment: letters, digits, dots, hyphens and underscores, no wildcard."
  }

  validation {
    condition = length(distinct([
      lower(coalesce(var.plan_environment, "${var.environment}-plan")),
      lower(coalesce(var.apply_environment, var.environment)),
      lower(var.push_environment),
    ])) == 3
    error_message = "plan_environment, apply_environment and push_environment must be three different environments: a job that may do one thing must not be able to do another. GitHub does not tell them apart by case."
  }
}

variable "branch" {
  description = "Default branch of the repository: only its workflows apply and push."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$", var.branch))
    error_message = "branch must be the name of one branch, without refs/heads/ and without a wildcard."
  }

  validation {
    condition     = !startswith(var.branch, "refs/")
    error_message = "branch must be the branch's short name, as in main, without refs/heads/."
  }
}

variable "workflows" {
  description = "Files in .github/workflows/ whose jobs may assume each role, in the role's environment."
  type = object({
    plan  = optional(set(string), ["drift.yml", "plan.yml", "promotion.yml", "versions.yml"])
    apply = optional(set(string), ["apply.yml"])
    push  = optional(set(string), ["release.yml"])
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for file in setunion(var.workflows.plan, var.workflows.apply, var.workflows.push) :
      can(regex("^[A-Za-z0-9._-]+\\.ya?ml$", file))
    ])
    error_message = "workflows must name files of .github/workflows/, as in apply.yml, without a folder or a wildcard."
  }

  validation {
    condition     = alltrue([for files in [var.workflows.plan, var.workflows.apply, var.workflows.push] : length(files) > 0])
    error_message = "workflows must name at least one file for each role: nobody could assume a role without."
  }
}

variable "push_environment" {
  description = "GitHub environment whose jobs may assume the push role."
  type        = string
  default     = "release"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,100}$", var.push_environment))
    error_message = "push_environment must be the name of one GitHub environment: letters, digits, dots, hyphens and underscores, no wildcard."
  }
}

variable "push_repository_arns" {
  description = "ECR repositories that the push role may push to. With none there is no push role."
  type        = list(string)
  default     = []

  validation {
    condition = alltrue([
      for arn in var.push_repository_arns :
      can(regex("^arn:aws[a-z-]*:ecr:[a-z0-9-]+:[0-9]{12}:repository/[a-z0-9][a-z0-9._/-]*$", arn))
    ])
    error_message = "push_repository_arns must be ARNs of single repositories, as in arn:aws:ecr:eu-central-1:111122223333:repository/strongroom, without a wildcard."
  }
}

variable "state_bucket" {
  description = "Name of the bucket that holds the account's Terraform state."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.state_bucket))
    error_message = "state_bucket must be a bucket's name, not an ARN: 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "regions" {
  description = "Regions that the account uses: plan and apply roles reach no other."
  type        = set(string)

  validation {
    condition     = length(var.regions) > 0
    error_message = "regions must name at least one region, as in [\"eu-central-1\"]."
  }

  validation {
    condition     = alltrue([for region in var.regions : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]+$", region))])
    error_message = "regions must be names of regions, as in eu-central-1, without a wildcard."
  }
}
