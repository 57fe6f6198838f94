variable "name" {
  description = "Prefix of everything that the module names, such as strongroom-dev; another one in each region of an account."
  type        = string
  nullable    = false

  validation {
    # The role is named <name>-service, and a role's name has at most 64 characters.
    condition     = can(regex("^[a-z][a-z0-9-]{0,54}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 56 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen: choose a shorter or plainer one, such as strongroom-dev."
  }
}

variable "oidc_provider_arn" {
  description = "The cluster's OIDC provider in IAM."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/[^*?]+$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn must be the ARN of an OIDC provider in IAM (the cluster module puts it out), not the issuer's URL."
  }
}

variable "oidc_issuer" {
  description = "The cluster's OIDC issuer, without https://."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9.-]+(/[A-Za-z0-9._/-]+)?$", var.oidc_issuer))
    error_message = "oidc_issuer must be given without https:// and without wildcards, as in oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF."
  }

  validation {
    # The conditions are named after the issuer: under another one's name they would never hold.
    condition     = endswith(var.oidc_provider_arn, ":oidc-provider/${var.oidc_issuer}")
    error_message = "oidc_issuer is not the issuer of oidc_provider_arn: take both from the same cluster."
  }
}

variable "namespace" {
  description = "The namespace that the service runs in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "namespace must be one Kubernetes namespace: 1 to 63 lower-case letters, digits and hyphens, no wildcard."
  }
}

variable "service_account" {
  description = "The service account that the service's pods run as."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", var.service_account))
    error_message = "service_account must be one Kubernetes service account: lower-case letters, digits, dots and hyphens, no wildcard."
  }
}

variable "table_arn" {
  description = "The table, in the region that the pods run in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:dynamodb:[a-z0-9-]+:[0-9]{12}:table/[A-Za-z0-9_.-]{3,255}$", var.table_arn))
    error_message = "table_arn must be the ARN of one table, without wildcards (document-store puts it out under regions)."
  }

  validation {
    condition     = try(split(":", var.table_arn)[4] == split(":", var.oidc_provider_arn)[4], false)
    error_message = "table_arn is of another account than oidc_provider_arn: a role here could not reach it."
  }
}

variable "index_arn" {
  description = "The index that the sweeper reads."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{3,255}$", trimprefix(var.index_arn, "${var.table_arn}/index/")))
    error_message = "index_arn must be the ARN of one index of table_arn: take both from the same region of document-store."
  }
}

variable "bucket_arn" {
  description = "The bucket, in the region that the pods run in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_arn))
    error_message = "bucket_arn must be the ARN of one bucket, without a path and without wildcards."
  }
}

variable "key_arns" {
  description = "The keys of table and bucket."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.key_arns) > 0
    error_message = "key_arns must name the keys of table and bucket: without them nothing can be decrypted."
  }

  validation {
    condition     = alltrue([for arn in var.key_arns : can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "key_arns must be ARNs of keys, not of aliases, without wildcards."
  }

  validation {
    condition     = alltrue([for arn in var.key_arns : try(slice(split(":", arn), 3, 5) == slice(split(":", var.table_arn), 3, 5), false)])
    error_message = "key_arns has a key of another region or account than table_arn: take all of them from the same region of document-store."
  }
}

# No default: whether a region may write is decided where its environment is described.
variable "writable" {
  description = "Whether this region may write. False is the fence of a passive region: every change of table, bucket and key is denied, whatever else allows it."
  type        = bool
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "The policy that bounds the role."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:policy/.+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of a policy of the account, such as arn:aws:iam::111122223333:policy/strongroom-dev-boundary (ci-identity puts it out)."
  }
}
