locals {
  # A replica has the table's name in its own region.
  table_arns = {
    for region in keys(local.buckets) :
    region => replace(aws_dynamodb_table.this.arn, ":dynamodb:${local.primary}:", ":dynamodb:${region}:")
  }
}

output "table_name" {
  description = "The table's name, the same in every region."
  value       = aws_dynamodb_table.this.name
}

output "table_arn" {
  description = "The table's ARN in the provider's region."
  value       = aws_dynamodb_table.this.arn
}

output "index_name" {
  description = "The name of the index that the sweeper reads."
  value       = one(aws_dynamodb_table.this.global_secondary_index[*].name)
}

output "bucket_name" {
  description = "The bucket's name in the provider's region."
  value       = aws_s3_bucket.this[local.primary].id
}

output "bucket_arn" {
  description = "The bucket's ARN in the provider's region."
  value       = aws_s3_bucket.this[local.primary].arn
}

output "key_arn" {
  description = "The key of table and bucket in the provider's region."
  value       = aws_kms_key.this[local.primary].arn
}

output "stream_arn" {
  description = "The table's stream in the provider's region."
  value       = aws_dynamodb_table.this.stream_arn
}

output "regions" {
  description = "By region, of the table and of each replica: table_name, table_arn, index_arn, bucket_name, bucket_arn and key_arns, as workload-identity takes them."
  value = {
    for region in keys(local.buckets) : region => {
      table_name  = aws_dynamodb_table.this.name
      table_arn   = local.table_arns[region]
      index_arn   = "${local.table_arns[region]}/index/${one(aws_dynamodb_table.this.global_secondary_index[*].name)}"
      bucket_name = aws_s3_bucket.this[region].id
      bucket_arn  = aws_s3_bucket.this[region].arn
      key_arns    = [aws_kms_key.this[region].arn]
    }
  }
}
