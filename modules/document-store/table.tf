# The schema is that of `python -m app provision`; a test compares the two.
resource "aws_dynamodb_table" "this" {
  name         = local.table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "PK"
  range_key    = "SK"

  deletion_protection_enabled = !var.disposable

  # Replicas need the stream, and need it with both images.
  stream_enabled   = true
  stream_view_type = "NEW_AND_OLD_IMAGES"

  attribute {
    name = "PK"
    type = "S"
  }

  attribute {
    name = "SK"
    type = "S"
  }

  attribute {
    name = "due_bucket"
    type = "N"
  }

  attribute {
    name = "due_at"
    type = "N"
  }

  # Sparse: only what the sweeper has to look at carries these attributes.
  global_secondary_index {
    name            = "due"
    projection_type = "KEYS_ONLY"

    key_schema {
      attribute_name = "due_bucket"
      key_type       = "HASH"
    }

    key_schema {
      attribute_name = "due_at"
      key_type       = "RANGE"
    }
  }

  ttl {
    enabled        = true
    attribute_name = "ttl"
  }

  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = var.recovery_days
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.this[local.primary].arn
  }

  dynamic "on_demand_throughput" {
    for_each = var.max_read_request_units == null && var.max_write_request_units == null ? [] : [true]

    content {
      max_read_request_units  = var.max_read_request_units
      max_write_request_units = var.max_write_request_units
    }
  }

  # Inline, not aws_dynamodb_table_replica: that resource and this one would undo each other's work.
  # A replica inherits none of the table's protection, so each says its own.
  dynamic "replica" {
    for_each = var.replicas

    content {
      region_name                 = replica.key
      kms_key_arn                 = aws_kms_key.this[replica.key].arn
      point_in_time_recovery      = true
      deletion_protection_enabled = !var.disposable
      propagate_tags              = true
    }
  }

  tags = { Name = local.table_name }
}
