data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  primary    = data.aws_region.current.region
  table_name = coalesce(var.table_name, var.name)

  # Every region that holds data, and the name of its bucket.
  buckets = merge(
    { (local.primary) = var.bucket_name },
    { for region, replica in var.replicas : region => replica.bucket_name },
  )
}

# --- keys ----------------------------------------------------------------------------------------

# One key per region for table and bucket: whoever may read a document needs both.
resource "aws_kms_key" "this" {
  for_each = local.buckets
  region   = each.key

  description             = "Documents of ${var.name}: the table and the bucket in ${each.key}"
  enable_key_rotation     = true
  deletion_window_in_days = var.disposable ? 7 : 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # The account's own IAM policies decide; without this nobody could ever mend the key.
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        # DynamoDB looks after the key's state by itself; it decrypts by grants and for callers.
        Sid       = "TableService"
        Effect    = "Allow"
        Principal = { Service = "dynamodb.amazonaws.com" }
        Action    = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  for_each = local.buckets
  region   = each.key

  name          = "alias/${var.name}-documents"
  target_key_id = aws_kms_key.this[each.key].key_id
}
