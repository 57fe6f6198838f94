resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:Access logs are optional (access_logs): they need a bucket of their own in each region. CloudTrail data events tell the same, with the caller's role.
  #checkov:skip=CKV_AWS_144:Replication is a matter of the environment (replicas): dev and staging have one region.
  #checkov:skip=CKV2_AWS_62:Nobody listens to events: the service writes its own records in the same moment as the object.
  for_each = local.buckets
  region   = each.key

  bucket        = each.value
  force_destroy = var.disposable

  tags = { Name = each.value }
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets
  region   = each.key

  bucket = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.buckets
  region   = each.key

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    # One data key for many objects: else every request costs a call to KMS.
    bucket_key_enabled = true
    # Bytes under a key that only the caller has could neither be verified nor replicated.
    blocked_encryption_types = ["SSE-C"]

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this[each.key].arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = local.buckets
  region   = each.key

  bucket = aws_s3_bucket.this[each.key].id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "this" {
  for_each = local.buckets
  region   = each.key

  bucket = aws_s3_bucket.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.this[each.key].arn, "${aws_s3_bucket.this[each.key].arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "ModernTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.this[each.key].arn, "${aws_s3_bucket.this[each.key].arn}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
      {
        # A write that says nothing of encryption gets the bucket's key. One that does must name
        # that same key: a missing key id, as with AES256, differs from it and is refused, too.
        # Without the Null test a write that says nothing would be.
        Sid       = "OwnKeyOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.this[each.key].arn}/*"
        Condition = {
          Null            = { "s3:x-amz-server-side-encryption" = "false" }
          StringNotEquals = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = aws_kms_key.this[each.key].arn }
        }
      },
    ]
  })

  # S3 refuses changes of these two that overlap: "a conflicting conditional operation".
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets
  region   = each.key

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }

  depends_on = [aws_s3_bucket_policy.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.buckets
  region   = each.key

  bucket = aws_s3_bucket.this[each.key].id

  # Nothing here expires what is current. Objects hidden by a delete marker are what a restore looks
  # for, so they outlive the window to which the table can be restored.
  rule {
    id     = "keep-noncurrent"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    # Only a marker that hides nothing any more: left behind, it would count as a key in use.
    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "end-unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = var.abort_upload_days
    }
  }

  # Versioning decides what the rules mean; replication must see an object before they do.
  depends_on = [
    aws_s3_bucket_versioning.this,
    aws_s3_bucket_replication_configuration.this,
  ]
}

# The rules of `python -m app provision`; a test compares the two. Web pages follow the service's
# presigned URLs by them; a URL is still needed.
resource "aws_s3_bucket_cors_configuration" "this" {
  for_each = length(var.cors_origins) == 0 ? {} : local.buckets
  region   = each.key

  bucket = aws_s3_bucket.this[each.key].id

  cors_rule {
    allowed_origins = var.cors_origins
    allowed_methods = ["GET", "HEAD", "PUT"]
    allowed_headers = ["content-type", "if-none-match", "range", "x-amz-checksum-sha256"]
    expose_headers  = ["ETag", "x-amz-checksum-sha256"]
    max_age_seconds = 7200
  }
}

resource "aws_s3_bucket_logging" "this" {
  for_each = var.access_logs
  region   = each.key

  bucket        = aws_s3_bucket.this[each.key].id
  target_bucket = each.value.bucket_name
  target_prefix = coalesce(each.value.prefix, "${local.buckets[each.key]}/")

  target_object_key_format {
    partitioned_prefix {
      partition_date_source = "EventTime"
    }
  }
}
