# A copy that falls behind is missed by nobody until a failover needs it. Each way is watched where
# it begins; one that nobody writes to has no data, and is no alarm.

locals {
  ways = merge([
    for source, destinations in local.destinations : {
      for destination in destinations : "${source}-to-${destination}" => { source = source, destination = destination }
    }
  ]...)

  # S3 counts in seconds and gives no promise without replication time control; DynamoDB counts in
  # milliseconds and takes about a second.
  behind = {
    bucket = { namespace = "AWS/S3", metric = "ReplicationLatency", statistic = "Maximum", threshold = 15 * 60 }
    failed = { namespace = "AWS/S3", metric = "OperationsFailedReplication", statistic = "Sum", threshold = 0 }
    table  = { namespace = "AWS/DynamoDB", metric = "ReplicationLatency", statistic = "Average", threshold = 60 * 1000 }
  }

  alarms = merge([
    for way, ends in local.ways : {
      for what, measure in local.behind : "${what}-${way}" => merge(ends, measure, {
        periods = what == "failed" ? 1 : 3
        dimensions = what == "table" ? {
          TableName       = local.table_name
          ReceivingRegion = ends.destination
          } : {
          SourceBucket      = local.buckets[ends.source]
          DestinationBucket = local.buckets[ends.destination]
          RuleId            = "to-${ends.destination}"
        }
      })
    }
  ]...)
}

resource "aws_cloudwatch_metric_alarm" "replication" {
  for_each = local.alarms
  region   = each.value.source

  alarm_name          = "${var.name}-replication-${each.key}"
  alarm_description   = "Documents of ${var.name} do not arrive in ${each.value.destination}: a failover would lose them"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = [for topic in [lookup(var.alarm_topic_arns, each.value.source, null)] : topic if topic != null]
  ok_actions          = [for topic in [lookup(var.alarm_topic_arns, each.value.source, null)] : topic if topic != null]
}
