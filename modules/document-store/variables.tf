variable "name" {
  description = "Prefix of everything that the module names, such as strongroom-dev."
  type        = string
  nullable    = false

  validation {
    # Roles are named <name>-replication-<region>, and a role's name has at most 64 characters.
    condition     = can(regex("^[a-z][a-z0-9-]{0,34}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 36 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen: choose a shorter or plainer one, such as strongroom-dev."
  }
}

variable "table_name" {
  description = "The table's name, if it is not `name`. Point it at a restored table only after importing that table: a changed name alone would replace the table."
  type        = string
  default     = null

  validation {
    condition     = var.table_name == null || can(regex("^[A-Za-z0-9_.-]{3,255}$", var.table_name))
    error_message = "table_name must be 3 to 255 letters, digits, underscores, dots and hyphens, or null for the same as name."
  }
}

variable "bucket_name" {
  description = "The bucket's name in the provider's region; unique in all of AWS."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must be 3 to 63 lower-case letters, digits and hyphens. Dots are refused: a name with one is not covered by the certificate of S3."
  }
}

variable "replicas" {
  description = "Further regions that hold a replica of the table and a bucket, by the region's name."
  type        = map(object({ bucket_name = string }))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for region in keys(var.replicas) : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", region))])
    error_message = "The keys of replicas must be names of AWS regions, such as eu-west-1."
  }

  validation {
    condition     = !contains(keys(var.replicas), data.aws_region.current.region)
    error_message = "replicas names the region that the table itself is in: list only the others."
  }

  validation {
    condition     = alltrue([for replica in values(var.replicas) : can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", replica.bucket_name))])
    error_message = "Each replica's bucket_name must be 3 to 63 lower-case letters, digits and hyphens, without dots."
  }

  validation {
    condition     = length(distinct(concat([var.bucket_name], values(var.replicas)[*].bucket_name))) == length(var.replicas) + 1
    error_message = "Every region needs a bucket of its own: give each replica a bucket_name that no other region has, such as one that ends with its region."
  }
}

# The only switch of all protection, and it has no default: no second variable could turn a part of
# it off unseen.
variable "disposable" {
  description = "Whether all data may be destroyed with the module: true turns deletion protection off and lets buckets be deleted with what they hold."
  type        = bool
  nullable    = false
}

variable "recovery_days" {
  description = "How many days back the table can be restored to any second (point-in-time recovery)."
  type        = number
  default     = 35
  nullable    = false

  validation {
    condition     = var.recovery_days >= 1 && var.recovery_days <= 35 && floor(var.recovery_days) == var.recovery_days
    error_message = "recovery_days must be a whole number from 1 to 35, the bounds of DynamoDB."
  }
}

variable "noncurrent_days" {
  description = "How many days an object is kept after a delete marker or another version has hidden it. More than recovery_days by the time that a restore may take."
  type        = number
  default     = 45
  nullable    = false

  validation {
    condition     = var.noncurrent_days >= var.recovery_days && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days must be a whole number, at least recovery_days: a table restored to its oldest point would name objects that are gone."
  }
}

variable "abort_upload_days" {
  description = "After how many days S3 ends an unfinished multipart upload that the sweeper has not."
  type        = number
  default     = 7
  nullable    = false

  validation {
    # The sweeper ends abandoned uploads minutes after their writer's last sign of life; S3 knows of
    # no such sign and must leave the slowest live upload alone.
    condition     = var.abort_upload_days >= 2 && var.abort_upload_days <= 365 && floor(var.abort_upload_days) == var.abort_upload_days
    error_message = "abort_upload_days must be a whole number from 2 to 365: S3 would end uploads that are still under way; leave fresher ones to the sweeper."
  }
}

variable "cors_origins" {
  description = "Origins whose web pages may follow the service's presigned URLs, as CORS_ORIGINS of the service; * for all. Without one no page may."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for origin in var.cors_origins : origin == "*" || can(regex("^https?://[a-z0-9.-]+(:[0-9]{1,5})?$", origin))])
    error_message = "cors_origins must be a list of origins such as https://app.example.com, or *: lower case, without a path."
  }
}

variable "max_read_request_units" {
  description = "Most read request units a second that the table may take on demand; null is no bound."
  type        = number
  default     = null

  validation {
    condition     = var.max_read_request_units == null || try(var.max_read_request_units >= 1 && floor(var.max_read_request_units) == var.max_read_request_units, false)
    error_message = "max_read_request_units must be a whole number of at least 1, or null for no bound."
  }
}

variable "max_write_request_units" {
  description = "Most write request units a second that the table may take on demand; null is no bound."
  type        = number
  default     = null

  validation {
    condition     = var.max_write_request_units == null || try(var.max_write_request_units >= 1 && floor(var.max_write_request_units) == var.max_write_request_units, false)
    error_message = "max_write_request_units must be a whole number of at least 1, or null for no bound."
  }
}

variable "replication_time_control" {
  description = "Whether S3 promises to replicate within 15 minutes, and tells what is late. It costs by the gigabyte."
  type        = bool
  default     = false
  nullable    = false
}

variable "alarm_topic_arns" {
  description = "SNS topics that are told when replication falls behind, by region: of the region in which documents are written. Without one the alarm is in CloudWatch alone."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for region, arn in var.alarm_topic_arns : can(regex("^arn:aws[a-z-]*:sns:${region}:[0-9]{12}:[A-Za-z0-9_-]+$", arn))])
    error_message = "alarm_topic_arns must be ARNs of SNS topics, each of the region that is its key: CloudWatch tells no topic elsewhere."
  }
}

variable "access_logs" {
  description = "Where the access logs of each region's bucket go, by region: an existing bucket of the same region that lets logging.s3.amazonaws.com write. Regions that are not named keep none."
  type        = map(object({ bucket_name = string, prefix = optional(string) }))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for region in keys(var.access_logs) : contains(concat([data.aws_region.current.region], keys(var.replicas)), region)])
    error_message = "access_logs names a region that has no bucket: its keys must be the provider's region or keys of replicas."
  }

  validation {
    condition     = !anytrue([for log in values(var.access_logs) : contains(concat([var.bucket_name], values(var.replicas)[*].bucket_name), log.bucket_name)])
    error_message = "access_logs sends logs into a bucket of documents, where they would be taken for foreign objects: name another bucket."
  }
}

variable "permissions_boundary_arn" {
  description = "The policy that bounds the role of S3 replication."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:policy/.+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of a policy of the account, such as arn:aws:iam::111122223333:policy/strongroom-dev-boundary (ci-identity puts it out)."
  }
}
