locals {
  region = split(":", var.table_arn)[3]

  # Just what the code calls: app/*/dynamodb.py, app/documents/maintenance.py, app/aws/s3.py,
  # s3_direct.py, s3_upload.py. What a client puts with a URL that the service has signed is done in
  # the role's name, too. Transactions have no action of their own: each of their parts is checked as the
  # call that it stands for.
  table_reads    = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"]
  table_writes   = ["dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
  index_reads    = ["dynamodb:Query"]
  bucket_reads   = ["s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:ListBucketVersions"]
  object_reads   = ["s3:GetObject", "s3:ListMultipartUploadParts"]
  object_writes  = ["s3:AbortMultipartUpload", "s3:DeleteObjectVersion", "s3:PutObject"]
  object_pattern = "${var.bucket_arn}/*"

  allowed = [
    {
      Sid      = "ReadTable"
      Effect   = "Allow"
      Action   = local.table_reads
      Resource = var.table_arn
    },
    {
      Sid      = "FindWhatIsDue"
      Effect   = "Allow"
      Action   = local.index_reads
      Resource = var.index_arn
    },
    {
      Sid      = "WriteTable"
      Effect   = "Allow"
      Action   = local.table_writes
      Resource = var.table_arn
    },
    {
      # Besides, without ListBucket S3 answers for an object that is not there as for one that
      # is forbidden.
      Sid      = "ListBucket"
      Effect   = "Allow"
      Action   = local.bucket_reads
      Resource = var.bucket_arn
    },
    {
      Sid      = "ReadObjects"
      Effect   = "Allow"
      Action   = local.object_reads
      Resource = local.object_pattern
    },
    {
      # Objects are removed version by version; a plain delete would only hide them.
      Sid      = "WriteObjects"
      Effect   = "Allow"
      Action   = local.object_writes
      Resource = local.object_pattern
    },
    {
      # Never by a call of the service's own: only through the two that hold the data.
      Sid      = "Decrypt"
      Effect   = "Allow"
      Action   = ["kms:Decrypt"]
      Resource = var.key_arns
      Condition = {
        StringEquals = {
          "kms:ViaService" = ["dynamodb.${local.region}.amazonaws.com", "s3.${local.region}.amazonaws.com"]
        }
      }
    },
    {
      Sid       = "EncryptObjects"
      Effect    = "Allow"
      Action    = ["kms:GenerateDataKey"]
      Resource  = var.key_arns
      Condition = { StringEquals = { "kms:ViaService" = "s3.${local.region}.amazonaws.com" } }
    },
  ]

  # Everything but the reads, so that no write is forgotten, nor one that AWS adds later. It is an
  # explicit deny: another policy on the role could not undo it.
  fence = {
    Sid    = "Fence"
    Effect = "Deny"
    NotAction = sort(distinct(concat(
      local.table_reads, local.index_reads, local.bucket_reads, local.object_reads, ["kms:Decrypt"],
    )))
    Resource = concat(
      [var.table_arn, "${var.table_arn}/*", var.bucket_arn, local.object_pattern], var.key_arns,
    )
  }
}

resource "aws_iam_role" "this" {
  # IAM is one for all regions: two regions of an account need two prefixes.
  name                 = "${var.name}-service"
  description          = "The service ${var.namespace}/${var.service_account} of ${var.name} in ${local.region}"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ServiceAccount"
      Effect    = "Allow"
      Principal = { Federated = var.oidc_provider_arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${var.oidc_issuer}:aud" = "sts.amazonaws.com"
          "${var.oidc_issuer}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "service"
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.allowed, var.writable ? [] : [local.fence])
  })
}
