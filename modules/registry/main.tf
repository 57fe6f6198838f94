# A registry is one per account and region: so are its policy and its replication, and so is a call
# of this module.

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

locals {
  prefix = "arn:${data.aws_partition.this.partition}:ecr:${data.aws_region.this.region}:${data.aws_caller_identity.this.account_id}:repository/"
}

# Tags do not move, so what a digest was released as is told by its tag for ever.
resource "aws_ecr_repository" "this" {
  for_each = var.repositories

  name                 = each.value
  image_tag_mutability = "IMMUTABLE"
  force_delete         = var.force_delete

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.kms_key_arn
  }

  image_scanning_configuration {
    scan_on_push = true
  }
}

# --- what expires ---------------------------------------------------------------------------------

locals {
  # ECR knows no rule that keeps. But an image that meets a rule is not expired by a later one; so
  # the first rules are met by what is released, and never expire any of it: a repository has room
  # for 100,000 images. Each prefix has a rule of its own, since a rule with two of them means images
  # that have both. https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
  most_images = 100000

  kept = [
    for prefix in var.kept_tag_prefixes : {
      description = "Keep what is released as ${prefix}"
      selection = {
        tagStatus     = "tagged"
        tagPrefixList = [prefix]
        countType     = "imageCountMoreThan"
        countNumber   = local.most_images
      }
    }
  ]

  thrown_away = [
    for prefix in var.throw_away_tag_prefixes : {
      description = "Expire what is tagged ${prefix}"
      selection = {
        tagStatus     = "tagged"
        tagPrefixList = [prefix]
        countType     = "sinceImagePushed"
        countUnit     = "days"
        countNumber   = var.expire_throw_away_days
      }
    }
  ]

  # The images that an index names have no tags, but stay for as long as the index does.
  untagged = [
    {
      description = "Expire what has no tag"
      selection = {
        tagStatus   = "untagged"
        countType   = "sinceImagePushed"
        countUnit   = "days"
        countNumber = var.expire_untagged_days
      }
    }
  ]

  # Rule by rule, since they differ in shape: a conditional or a concat would want them alike.
  lifecycle_rules = [
    for index, rule in concat(
      [for rule in local.kept : jsonencode(rule)],
      [for rule in local.thrown_away : jsonencode(rule)],
      [for rule in local.untagged : jsonencode(rule)],
    ) : merge(jsondecode(rule), { rulePriority = index + 1, action = { type = "expire" } })
  ]
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each = aws_ecr_repository.this

  repository = each.value.name
  policy     = jsonencode({ rules = local.lifecycle_rules })
}

# --- who gets what is pushed ----------------------------------------------------------------------

# ECR compares prefixes of names, so more than these repositories may be offered to a destination.
# What it takes is for its own policy to say, below, and that names repositories exactly.
resource "aws_ecr_replication_configuration" "this" {
  count = length(var.replication_destinations) > 0 ? 1 : 0

  replication_configuration {
    rule {
      dynamic "destination" {
        for_each = var.replication_destinations

        content {
          registry_id = destination.value.account_id
          region      = destination.value.region
        }
      }

      dynamic "repository_filter" {
        for_each = var.repositories

        content {
          filter      = repository_filter.value
          filter_type = "PREFIX_MATCH"
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition = !contains(var.replication_destinations, {
        account_id = data.aws_caller_identity.this.account_id
        region     = data.aws_region.this.region
      })
      error_message = "replication_destinations must not name this very registry: ${data.aws_caller_identity.this.account_id} in ${data.aws_region.this.region}."
    }
  }
}

# --- who may bring something in -------------------------------------------------------------------

# Without ecr:CreateRepository: a repository that ECR made itself would have neither immutable tags,
# nor scans, nor a lifecycle. The source's root stands for its registry, which is what replicates.
resource "aws_ecr_registry_policy" "this" {
  count = length(var.replication_source_account_ids) > 0 ? 1 : 0

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for id in sort(tolist(var.replication_source_account_ids)) : {
        Sid       = "Replicate${id}"
        Effect    = "Allow"
        Principal = { AWS = "arn:${data.aws_partition.this.partition}:iam::${id}:root" }
        Action    = "ecr:ReplicateImage"
        Resource  = [for name in sort(tolist(var.repositories)) : "${local.prefix}${name}"]
      }
    ]
  })

  lifecycle {
    precondition {
      condition     = !contains(var.replication_source_account_ids, data.aws_caller_identity.this.account_id)
      error_message = "replication_source_account_ids must not name this account: ECR asks for no permission within one account."
    }
  }
}

# --- who may pull ---------------------------------------------------------------------------------

resource "aws_ecr_repository_policy" "this" {
  for_each = length(var.pull_principal_arns) > 0 ? aws_ecr_repository.this : {}

  repository = each.value.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Pull"
      Effect    = "Allow"
      Principal = { AWS = sort(tolist(var.pull_principal_arns)) }
      Action = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
      ]
    }]
  })
}
