# What is built, by a provider that only pretends.

mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }

  override_data {
    target = data.aws_region.current
    values = { region = "eu-central-1" }
  }

  override_data {
    target = data.aws_caller_identity.current
    values = { account_id = "111122223333" }
  }

  override_data {
    target = data.aws_partition.current
    values = { partition = "aws" }
  }

  override_resource {
    target = aws_dynamodb_table.this
    values = { arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev" }
  }

  override_resource {
    target = aws_kms_key.this["eu-central-1"]
    values = { arn = "arn:aws:kms:eu-central-1:111122223333:key/central" }
  }

  override_resource {
    target = aws_kms_key.this["eu-west-1"]
    values = { arn = "arn:aws:kms:eu-west-1:111122223333:key/west" }
  }

  override_resource {
    target = aws_kms_key.this["eu-north-1"]
    values = { arn = "arn:aws:kms:eu-north-1:111122223333:key/north" }
  }

  override_resource {
    target = aws_s3_bucket.this["eu-north-1"]
    values = { arn = "arn:aws:s3:::documents-north", id = "documents-north" }
  }

  override_resource {
    target = aws_s3_bucket.this["eu-central-1"]
    values = { arn = "arn:aws:s3:::documents-central", id = "documents-central" }
  }

  override_resource {
    target = aws_s3_bucket.this["eu-west-1"]
    values = { arn = "arn:aws:s3:::documents-west", id = "documents-west" }
  }
}

variables {
  name                     = "strongroom-dev"
  bucket_name              = "documents-central"
  disposable               = false
  permissions_boundary_arn = "arn:aws:iam::111122223333:policy/strongroom-dev-boundary"
}

run "web_pages" {
  variables {
    cors_origins = ["https://app.example.com"]
    replicas     = { "eu-west-1" = { bucket_name = "documents-west" } }
  }

  assert {
    condition     = keys(aws_s3_bucket_cors_configuration.this) == ["eu-central-1", "eu-west-1"]
    error_message = "every bucket lets them in"
  }

  assert {
    condition = [for rule in aws_s3_bucket_cors_configuration.this["eu-central-1"].cors_rule : [
      rule.allowed_origins, rule.allowed_methods, rule.allowed_headers, rule.expose_headers, rule.max_age_seconds,
      ]] == [[
      toset(["https://app.example.com"]), toset(["GET", "HEAD", "PUT"]),
      toset(["content-type", "if-none-match", "range", "x-amz-checksum-sha256"]),
      toset(["ETag", "x-amz-checksum-sha256"]), 7200,
    ]]
    error_message = "the rule of `python -m app provision`"
  }
}

run "one_region" {
  assert {
    condition     = length(aws_s3_bucket_cors_configuration.this) == 0
    error_message = "no web page, unless origins are named"
  }

  assert {
    condition     = aws_dynamodb_table.this.name == "strongroom-dev" && aws_dynamodb_table.this.billing_mode == "PAY_PER_REQUEST"
    error_message = "the table is on demand, and named as the prefix"
  }

  assert {
    condition     = aws_dynamodb_table.this.hash_key == "PK" && aws_dynamodb_table.this.range_key == "SK"
    error_message = "the table's key"
  }

  assert {
    condition = { for attribute in aws_dynamodb_table.this.attribute : attribute.name => attribute.type } == {
      PK = "S", SK = "S", due_bucket = "N", due_at = "N",
    }
    error_message = "the attributes of the keys"
  }

  assert {
    condition = [for index in aws_dynamodb_table.this.global_secondary_index : [
      index.name, index.projection_type, [for key in index.key_schema : "${key.attribute_name} ${key.key_type}"],
    ]] == [["due", "KEYS_ONLY", ["due_bucket HASH", "due_at RANGE"]]]
    error_message = "the one index"
  }

  assert {
    condition     = aws_dynamodb_table.this.ttl[0].enabled && aws_dynamodb_table.this.ttl[0].attribute_name == "ttl"
    error_message = "time to live is on"
  }

  assert {
    condition     = aws_dynamodb_table.this.stream_enabled && aws_dynamodb_table.this.stream_view_type == "NEW_AND_OLD_IMAGES"
    error_message = "the stream has both images"
  }

  assert {
    condition     = aws_dynamodb_table.this.point_in_time_recovery[0].enabled && aws_dynamodb_table.this.point_in_time_recovery[0].recovery_period_in_days == 35
    error_message = "any second of 35 days can be restored"
  }

  assert {
    condition     = aws_dynamodb_table.this.server_side_encryption[0].kms_key_arn == aws_kms_key.this["eu-central-1"].arn
    error_message = "the table is under the module's own key"
  }

  assert {
    condition     = length(aws_dynamodb_table.this.on_demand_throughput) == 0 && length(aws_dynamodb_table.this.replica) == 0
    error_message = "no bound and no replica, unless asked for"
  }

  assert {
    condition     = aws_kms_key.this["eu-central-1"].enable_key_rotation && aws_kms_key.this["eu-central-1"].region == "eu-central-1"
    error_message = "the key rotates"
  }

  assert {
    condition     = keys(aws_s3_bucket.this) == ["eu-central-1"] && aws_s3_bucket.this["eu-central-1"].bucket == "documents-central"
    error_message = "one bucket"
  }

  assert {
    condition     = aws_s3_bucket_versioning.this["eu-central-1"].versioning_configuration[0].status == "Enabled"
    error_message = "the bucket keeps versions"
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.this["eu-central-1"].rule :
      rule.bucket_key_enabled && rule.blocked_encryption_types == tolist(["SSE-C"])
      && rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"
      && rule.apply_server_side_encryption_by_default[0].kms_master_key_id == aws_kms_key.this["eu-central-1"].arn
    ])
    error_message = "objects are under the module's own key, by way of a bucket key"
  }

  assert {
    condition = (
      aws_s3_bucket_public_access_block.this["eu-central-1"].block_public_acls
      && aws_s3_bucket_public_access_block.this["eu-central-1"].block_public_policy
      && aws_s3_bucket_public_access_block.this["eu-central-1"].ignore_public_acls
      && aws_s3_bucket_public_access_block.this["eu-central-1"].restrict_public_buckets
    )
    error_message = "nothing is public"
  }

  assert {
    condition     = aws_s3_bucket_ownership_controls.this["eu-central-1"].rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "access lists are off"
  }

  assert {
    condition     = length(aws_s3_bucket_replication_configuration.this) == 0 && length(aws_iam_role.replication) == 0 && length(aws_s3_bucket_logging.this) == 0
    error_message = "no replication and no access logs, unless asked for"
  }
}

run "what_the_bucket_refuses" {
  assert {
    condition = [
      for statement in jsondecode(aws_s3_bucket_policy.this["eu-central-1"].policy).Statement :
      "${statement.Effect} ${statement.Sid}"
    ] == ["Deny TlsOnly", "Deny ModernTls", "Deny OwnKeyOnly"]
    error_message = "the bucket's policy denies, and allows nothing"
  }

  assert {
    condition = alltrue([
      for statement in slice(jsondecode(aws_s3_bucket_policy.this["eu-central-1"].policy).Statement, 0, 2) :
      statement.Principal == "*" && statement.Action == "s3:*"
      && statement.Resource == ["arn:aws:s3:::documents-central", "arn:aws:s3:::documents-central/*"]
    ])
    error_message = "TLS is asked of everybody, for the bucket and all in it"
  }

  assert {
    condition = jsondecode(aws_s3_bucket_policy.this["eu-central-1"].policy).Statement[2].Condition == {
      Null            = { "s3:x-amz-server-side-encryption" = "false" }
      StringNotEquals = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "arn:aws:kms:eu-central-1:111122223333:key/central" }
    }
    error_message = "a write that names a key must name the bucket's"
  }
}

run "what_the_key_allows" {
  assert {
    condition = [
      for statement in jsondecode(aws_kms_key.this["eu-central-1"].policy).Statement : [statement.Sid, statement.Principal]
      ] == [
      ["Account", { AWS = "arn:aws:iam::111122223333:root" }],
      ["TableService", { Service = "dynamodb.amazonaws.com" }],
    ]
    error_message = "the account, and the service that keeps the table"
  }

  assert {
    condition     = jsondecode(aws_kms_key.this["eu-central-1"].policy).Statement[1].Condition.StringEquals["aws:SourceAccount"] == "111122223333"
    error_message = "the service, for this account alone"
  }
}

run "lifecycle_keeps_what_a_restore_needs" {
  variables {
    recovery_days     = 20
    noncurrent_days   = 21
    abort_upload_days = 3
  }

  assert {
    condition     = aws_dynamodb_table.this.point_in_time_recovery[0].recovery_period_in_days == 20
    error_message = "the window is taken over"
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_lifecycle_configuration.this["eu-central-1"].rule :
      rule.status == "Enabled" && length(rule.transition) == 0 && length(rule.noncurrent_version_transition) == 0
      && alltrue([for expiration in rule.expiration : expiration.expired_object_delete_marker])
    ])
    error_message = "no rule expires a current object or moves one away"
  }

  assert {
    condition = flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.this["eu-central-1"].rule :
      rule.noncurrent_version_expiration[*].noncurrent_days
    ]) == [21]
    error_message = "what is hidden outlives the window"
  }

  assert {
    condition = alltrue(flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.this["eu-central-1"].rule :
      [for expiration in rule.noncurrent_version_expiration : expiration.newer_noncurrent_versions == null]
    ]))
    error_message = "and no count cuts it short"
  }

  assert {
    condition = flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.this["eu-central-1"].rule :
      rule.abort_incomplete_multipart_upload[*].days_after_initiation
    ]) == [3]
    error_message = "unfinished uploads end"
  }
}

run "protected" {
  variables {
    replicas = { "eu-west-1" = { bucket_name = "documents-west" } }
  }

  assert {
    condition     = aws_dynamodb_table.this.deletion_protection_enabled && alltrue(aws_dynamodb_table.this.replica[*].deletion_protection_enabled)
    error_message = "neither the table nor a replica can be deleted"
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : !bucket.force_destroy])
    error_message = "no bucket is deleted with what it holds"
  }

  assert {
    condition     = alltrue([for key in aws_kms_key.this : key.deletion_window_in_days == 30])
    error_message = "a key that somebody deletes can be had back for a month"
  }
}

run "disposable" {
  variables {
    disposable = true
    replicas   = { "eu-west-1" = { bucket_name = "documents-west" } }
  }

  assert {
    condition     = !aws_dynamodb_table.this.deletion_protection_enabled && !anytrue(aws_dynamodb_table.this.replica[*].deletion_protection_enabled)
    error_message = "the table and its replicas can go"
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : bucket.force_destroy])
    error_message = "buckets go with what they hold"
  }

  assert {
    condition     = alltrue([for key in aws_kms_key.this : key.deletion_window_in_days == 7])
    error_message = "keys go as soon as AWS lets them"
  }
}

run "two_regions" {
  variables {
    replicas = { "eu-west-1" = { bucket_name = "documents-west" } }
  }

  assert {
    condition = [for replica in aws_dynamodb_table.this.replica : [
      replica.region_name, replica.kms_key_arn, replica.point_in_time_recovery, replica.propagate_tags,
    ]] == [["eu-west-1", "arn:aws:kms:eu-west-1:111122223333:key/west", true, true]]
    error_message = "the replica has its own key, recovery and tags"
  }

  assert {
    condition     = { for region, bucket in aws_s3_bucket.this : region => [bucket.region, bucket.bucket] } == { "eu-central-1" = ["eu-central-1", "documents-central"], "eu-west-1" = ["eu-west-1", "documents-west"] }
    error_message = "each region has its bucket"
  }

  assert {
    condition = alltrue([for resources in [
      aws_kms_key.this, aws_kms_alias.this, aws_s3_bucket_versioning.this, aws_s3_bucket_public_access_block.this,
      aws_s3_bucket_server_side_encryption_configuration.this, aws_s3_bucket_policy.this,
      aws_s3_bucket_ownership_controls.this, aws_s3_bucket_lifecycle_configuration.this,
      aws_s3_bucket_replication_configuration.this,
    ] : alltrue([for region, resource in resources : resource.region == region]) && length(resources) == 2])
    error_message = "what protects one bucket protects the other, in its own region"
  }

  assert {
    condition = { for region, way in aws_s3_bucket_replication_configuration.this : region => [for rule in way.rule : [
      rule.status, rule.destination[0].bucket, rule.destination[0].encryption_configuration[0].replica_kms_key_id,
      rule.source_selection_criteria[0].sse_kms_encrypted_objects[0].status, rule.delete_marker_replication[0].status,
      ]] } == {
      "eu-central-1" = [["Enabled", "arn:aws:s3:::documents-west", "arn:aws:kms:eu-west-1:111122223333:key/west", "Enabled", "Enabled"]]
      "eu-west-1"    = [["Enabled", "arn:aws:s3:::documents-central", "arn:aws:kms:eu-central-1:111122223333:key/central", "Enabled", "Enabled"]]
    }
    error_message = "both ways, objects under keys and delete markers"
  }

  assert {
    condition     = alltrue([for way in aws_s3_bucket_replication_configuration.this : length(way.rule[0].destination[0].replication_time) == 0 && way.rule[0].destination[0].metrics[0].status == "Enabled"])
    error_message = "metrics, but no promise of 15 minutes unless paid for"
  }

  assert {
    condition = jsondecode(aws_iam_role.replication["eu-west-1"].assume_role_policy).Statement[0].Condition == {
      StringEquals = { "aws:SourceAccount" = "111122223333" }
      ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::documents-west" }
    }
    error_message = "S3 may take the role for this bucket alone"
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.replication : role.permissions_boundary == var.permissions_boundary_arn])
    error_message = "the roles are bounded"
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.replication["eu-central-1"].policy).Statement : statement.Sid => flatten([statement.Resource]) } == {
      ReadSource    = ["arn:aws:s3:::documents-central"]
      ReadObjects   = ["arn:aws:s3:::documents-central/*"]
      WriteReplicas = ["arn:aws:s3:::documents-west/*"]
      Decrypt       = ["arn:aws:kms:eu-central-1:111122223333:key/central"]
      Encrypt       = ["arn:aws:kms:eu-west-1:111122223333:key/west"]
    }
    error_message = "read here, write there, nothing else"
  }

  assert {
    condition = jsonencode({ for name, alarm in aws_cloudwatch_metric_alarm.replication : name => [
      alarm.region, alarm.namespace, alarm.metric_name, alarm.threshold, alarm.dimensions,
      ] if startswith(alarm.region, "eu-central") }) == jsonencode({
      "bucket-eu-central-1-to-eu-west-1" = ["eu-central-1", "AWS/S3", "ReplicationLatency", 900, {
        SourceBucket = "documents-central", DestinationBucket = "documents-west", RuleId = "to-eu-west-1"
      }]
      "failed-eu-central-1-to-eu-west-1" = ["eu-central-1", "AWS/S3", "OperationsFailedReplication", 0, {
        SourceBucket = "documents-central", DestinationBucket = "documents-west", RuleId = "to-eu-west-1"
      }]
      "table-eu-central-1-to-eu-west-1" = ["eu-central-1", "AWS/DynamoDB", "ReplicationLatency", 60000, {
        TableName = "strongroom-dev", ReceivingRegion = "eu-west-1"
      }]
    })
    error_message = "each way is watched, where it begins, by the rule that it has"
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.replication :
      alarm.treat_missing_data == "notBreaching" && alarm.comparison_operator == "GreaterThanThreshold"
    ]) && length(aws_cloudwatch_metric_alarm.replication) == 6
    error_message = "where nobody writes there is no data, and no alarm"
  }

  assert {
    condition = output.regions["eu-west-1"] == {
      table_name  = "strongroom-dev"
      table_arn   = "arn:aws:dynamodb:eu-west-1:111122223333:table/strongroom-dev"
      index_arn   = "arn:aws:dynamodb:eu-west-1:111122223333:table/strongroom-dev/index/due"
      bucket_name = "documents-west"
      bucket_arn  = "arn:aws:s3:::documents-west"
      key_arns    = ["arn:aws:kms:eu-west-1:111122223333:key/west"]
    }
    error_message = "what the replica's region is told"
  }

  assert {
    condition = (
      output.regions["eu-central-1"].table_arn == output.table_arn && output.regions["eu-central-1"].key_arns == [output.key_arn]
      && output.regions["eu-central-1"].bucket_arn == output.bucket_arn && output.bucket_name == "documents-central"
      && output.regions["eu-central-1"].table_name == output.table_name && output.index_name == "due"
    )
    error_message = "the outputs of the primary region agree"
  }
}

run "three_regions" {
  variables {
    replicas = {
      "eu-west-1"  = { bucket_name = "documents-west" }
      "eu-north-1" = { bucket_name = "documents-north" }
    }
  }

  assert {
    condition = { for region, way in aws_s3_bucket_replication_configuration.this : region => [for rule in way.rule : "${rule.id} ${rule.priority}"] } == {
      "eu-central-1" = ["to-eu-north-1 1", "to-eu-west-1 2"]
      "eu-north-1"   = ["to-eu-central-1 1", "to-eu-west-1 2"]
      "eu-west-1"    = ["to-eu-central-1 1", "to-eu-north-1 2"]
    }
    error_message = "S3 does not pass replicas on: each bucket sends to every other"
  }
}

run "options" {
  variables {
    table_name               = "strongroom-dev-restored"
    max_read_request_units   = 4000
    replication_time_control = true
    replicas                 = { "eu-west-1" = { bucket_name = "documents-west" } }
    access_logs              = { "eu-west-1" = { bucket_name = "logs-west" } }
  }

  assert {
    condition     = aws_dynamodb_table.this.name == "strongroom-dev-restored" && output.table_name == "strongroom-dev-restored"
    error_message = "the table's name"
  }

  assert {
    condition     = aws_kms_alias.this["eu-central-1"].name == "alias/strongroom-dev-documents" && aws_iam_role.replication["eu-west-1"].name == "strongroom-dev-replication-eu-west-1"
    error_message = "a restored table changes nothing that is not named after it"
  }

  assert {
    condition     = aws_dynamodb_table.this.on_demand_throughput[0].max_read_request_units == 4000
    error_message = "the bound"
  }

  assert {
    condition     = alltrue([for way in aws_s3_bucket_replication_configuration.this : way.rule[0].destination[0].replication_time[0].time[0].minutes == 15 && way.rule[0].destination[0].metrics[0].event_threshold[0].minutes == 15])
    error_message = "the promise of 15 minutes, and what tells that it is broken"
  }

  assert {
    condition     = { for region, logging in aws_s3_bucket_logging.this : region => [logging.target_bucket, logging.target_prefix] } == { "eu-west-1" = ["logs-west", "documents-west/"] }
    error_message = "access logs of the region that has a place for them"
  }
}
