# Every bucket to every other one. S3 does not replicate replicas, so three regions need all six
# ways; and failing back needs no change, as the way back is always there.

locals {
  # By source region: the others. Empty where there is one region only.
  destinations = {
    for source in keys(local.buckets) : source => sort(setsubtract(keys(local.buckets), [source]))
    if length(local.buckets) > 1
  }
}

resource "aws_iam_role" "replication" {
  for_each = local.destinations

  name                 = "${var.name}-replication-${each.key}"
  description          = "S3 replicates ${local.buckets[each.key]} to the other regions"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ReplicationOfThisBucket"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account_id }
        ArnEquals    = { "aws:SourceArn" = aws_s3_bucket.this[each.key].arn }
      }
    }]
  })
}

resource "aws_iam_role_policy" "replication" {
  for_each = local.destinations

  name = "replication"
  role = aws_iam_role.replication[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadSource"
        Effect   = "Allow"
        Action   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
        Resource = aws_s3_bucket.this[each.key].arn
      },
      {
        Sid    = "ReadObjects"
        Effect = "Allow"
        Action = [
          "s3:GetObjectVersionAcl",
          "s3:GetObjectVersionForReplication",
          "s3:GetObjectVersionTagging",
        ]
        Resource = "${aws_s3_bucket.this[each.key].arn}/*"
      },
      {
        Sid      = "WriteReplicas"
        Effect   = "Allow"
        Action   = ["s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags"]
        Resource = [for region in each.value : "${aws_s3_bucket.this[region].arn}/*"]
      },
      {
        Sid       = "Decrypt"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = aws_kms_key.this[each.key].arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${each.key}.amazonaws.com" } }
      },
      {
        # The second is for bucket keys, whose data keys S3 has made for it.
        Sid      = "Encrypt"
        Effect   = "Allow"
        Action   = ["kms:Encrypt", "kms:GenerateDataKey"]
        Resource = [for region in each.value : aws_kms_key.this[region].arn]
        Condition = {
          StringEquals = { "kms:ViaService" = [for region in each.value : "s3.${region}.amazonaws.com"] }
        }
      },
    ]
  })
}

resource "aws_s3_bucket_replication_configuration" "this" {
  for_each = local.destinations
  region   = each.key

  bucket = aws_s3_bucket.this[each.key].id
  role   = aws_iam_role.replication[each.key].arn

  dynamic "rule" {
    for_each = each.value

    content {
      id       = "to-${rule.value}"
      status   = "Enabled"
      priority = rule.key + 1

      filter {}

      # Else an object that was deleted here would be there again after a failover.
      delete_marker_replication {
        status = "Enabled"
      }

      source_selection_criteria {
        sse_kms_encrypted_objects {
          status = "Enabled"
        }

        # Tags that are put on a replica come back to the original: both ways are alike.
        replica_modifications {
          status = "Enabled"
        }
      }

      destination {
        bucket        = aws_s3_bucket.this[rule.value].arn
        storage_class = "STANDARD"

        encryption_configuration {
          replica_kms_key_id = aws_kms_key.this[rule.value].arn
        }

        # How much has not arrived yet is what a failover would lose.
        metrics {
          status = "Enabled"

          dynamic "event_threshold" {
            for_each = var.replication_time_control ? [true] : []

            content {
              minutes = 15
            }
          }
        }

        dynamic "replication_time" {
          for_each = var.replication_time_control ? [true] : []

          content {
            status = "Enabled"

            time {
              minutes = 15
            }
          }
        }
      }
    }
  }

  # S3 refuses to replicate from or to a bucket without versions, and tries the role at once.
  depends_on = [
    aws_s3_bucket_versioning.this,
    aws_iam_role_policy.replication,
  ]
}
