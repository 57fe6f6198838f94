variable "repositories" {
  description = "Names of the repositories."
  type        = set(string)

  validation {
    condition     = length(var.repositories) > 0
    error_message = "repositories must name at least one repository, as in [\"strongroom\"]."
  }

  validation {
    condition = alltrue([
      for name in var.repositories :
      length(name) >= 2 && length(name) <= 256 && can(regex("^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$", name))
    ])
    error_message = "Each of repositories must be 2 to 256 lower-case letters and digits, with single dots, hyphens, underscores or slashes between them, as in strongroom or strongroom/load."
  }
}

variable "replication_destinations" {
  description = "Registries that get what is pushed here: accounts, this one too, and their regions. ECR does not pass on what it got by replication, so the registry that is pushed to names all of them."
  type = list(object({
    account_id = string
    region     = string
  }))
  default = []

  validation {
    condition     = alltrue([for destination in var.replication_destinations : can(regex("^[0-9]{12}$", destination.account_id))])
    error_message = "Each account_id of replication_destinations must be the 12 digits of an account."
  }

  validation {
    condition     = alltrue([for destination in var.replication_destinations : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]+$", destination.region))])
    error_message = "Each region of replication_destinations must be a region's name, as in eu-west-1."
  }

  validation {
    condition     = length(distinct(var.replication_destinations)) == length(var.replication_destinations)
    error_message = "replication_destinations must name each account and region once."
  }

  validation {
    condition     = length(var.replication_destinations) <= 25
    error_message = "replication_destinations may be 25 at most: ECR replicates to no more."
  }
}

variable "replication_source_account_ids" {
  description = "Accounts whose registries may replicate into these repositories. Not this account: within one account ECR asks for no permission."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.replication_source_account_ids : can(regex("^[0-9]{12}$", id))])
    error_message = "Each of replication_source_account_ids must be the 12 digits of an account."
  }
}

variable "pull_principal_arns" {
  description = "Principals of other accounts that may pull. Those of this account need their own permission alone."
  type        = set(string)
  default     = []

  validation {
    condition = alltrue([
      for arn in var.pull_principal_arns :
      can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(root|role/[A-Za-z0-9+=,.@_/-]+)$", arn))
    ])
    error_message = "Each of pull_principal_arns must be the ARN of one role or of an account's root, without a wildcard."
  }
}

variable "expire_untagged_days" {
  description = "Days after which an image without a tag expires. What is released has a tag that cannot be moved, so these are leftovers of failed pushes."
  type        = number
  default     = 30

  validation {
    condition     = var.expire_untagged_days >= 7 && floor(var.expire_untagged_days) == var.expire_untagged_days
    error_message = "expire_untagged_days must be a whole number of days, at least 7: an image without a tag may be one that is being pushed or promoted."
  }
}

variable "throw_away_tag_prefixes" {
  description = "Prefixes of the tags of images that nothing deploys, as in `pr-`: they expire. With none, nothing that has a tag ever expires."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for prefix in var.throw_away_tag_prefixes : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{2,}$", prefix))])
    error_message = "Each of throw_away_tag_prefixes must be 3 or more letters, digits, underscores, dots or hyphens, without a wildcard, as in pr-: a shorter prefix meets tags that it does not mean."
  }
}

variable "expire_throw_away_days" {
  description = "Days after which an image with a throw-away tag expires."
  type        = number
  default     = 14

  validation {
    condition     = var.expire_throw_away_days >= 1 && floor(var.expire_throw_away_days) == var.expire_throw_away_days
    error_message = "expire_throw_away_days must be a whole number of days, at least 1."
  }
}

variable "kept_tag_prefixes" {
  description = "Prefixes of the tags of released images, as in `sha-`: whatever has one is kept, whatever other tags it has."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for prefix in var.kept_tag_prefixes : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*$", prefix))])
    error_message = "Each of kept_tag_prefixes must be letters, digits, underscores, dots or hyphens, without a wildcard, as in sha-."
  }

  validation {
    condition     = length(var.throw_away_tag_prefixes) == 0 || length(var.kept_tag_prefixes) > 0
    error_message = "kept_tag_prefixes must be given with throw_away_tag_prefixes: an image that is built again from the same content is the same digest, with both tags, and would go with the throw-away one."
  }

  validation {
    condition = alltrue([
      for pair in setproduct(var.kept_tag_prefixes, var.throw_away_tag_prefixes) :
      !startswith(pair[0], pair[1]) && !startswith(pair[1], pair[0])
    ])
    error_message = "kept_tag_prefixes and throw_away_tag_prefixes must not begin with one another: a tag would be both."
  }
}

variable "kms_key_arn" {
  description = "Key that the images are encrypted with; the account's own key for ECR if null. It cannot be changed later without making the repositories anew."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key, not of an alias: ECR stores the key itself, and would differ from an alias at every plan."
  }
}

variable "force_delete" {
  description = "Whether destroying a repository deletes the images in it. Only where the account is disposable."
  type        = bool
  default     = false
}
