# What the role may do, read from the policy that would be stored.

mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/strongroom-dev-service" }
  }
}

variables {
  name                     = "strongroom-dev"
  oidc_provider_arn        = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
  oidc_issuer              = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
  namespace                = "strongroom"
  service_account          = "api"
  table_arn                = "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev"
  index_arn                = "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev/index/due"
  bucket_arn               = "arn:aws:s3:::documents"
  key_arns                 = ["arn:aws:kms:eu-central-1:111122223333:key/central"]
  writable                 = true
  permissions_boundary_arn = "arn:aws:iam::111122223333:policy/strongroom-dev-boundary"
}

run "trust" {
  assert {
    condition = jsondecode(aws_iam_role.this.assume_role_policy).Statement == [{
      Sid       = "ServiceAccount"
      Effect    = "Allow"
      Principal = { Federated = var.oidc_provider_arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF:aud" = "sts.amazonaws.com"
          "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF:sub" = "system:serviceaccount:strongroom:api"
        }
      }
    }]
    error_message = "one service account of one cluster, for STS, by equality"
  }

  assert {
    condition     = aws_iam_role.this.permissions_boundary == var.permissions_boundary_arn
    error_message = "the role is bounded"
  }

  assert {
    condition     = aws_iam_role.this.name == "strongroom-dev-service" && output.role_name == aws_iam_role.this.name && output.role_arn == aws_iam_role.this.arn
    error_message = "what the service account is told"
  }
}

run "policy" {
  assert {
    condition = flatten([
      for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : [
        for pair in setproduct(flatten([statement.Action]), flatten([statement.Resource])) :
        "${statement.Effect} ${pair[0]} ${pair[1]}"
      ]
      ]) == [
      "Allow dynamodb:BatchGetItem arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev",
      "Allow dynamodb:GetItem arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev",
      "Allow dynamodb:Query arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev",
      "Allow dynamodb:Scan arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev",
      "Allow dynamodb:Query arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev/index/due",
      "Allow dynamodb:DeleteItem arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev",
      "Allow dynamodb:PutItem arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev",
      "Allow s3:ListBucket arn:aws:s3:::documents",
      "Allow s3:ListBucketMultipartUploads arn:aws:s3:::documents",
      "Allow s3:ListBucketVersions arn:aws:s3:::documents",
      "Allow s3:GetObject arn:aws:s3:::documents/*",
      "Allow s3:ListMultipartUploadParts arn:aws:s3:::documents/*",
      "Allow s3:AbortMultipartUpload arn:aws:s3:::documents/*",
      "Allow s3:DeleteObjectVersion arn:aws:s3:::documents/*",
      "Allow s3:PutObject arn:aws:s3:::documents/*",
      "Allow kms:Decrypt arn:aws:kms:eu-central-1:111122223333:key/central",
      "Allow kms:GenerateDataKey arn:aws:kms:eu-central-1:111122223333:key/central",
    ]
    error_message = "the whole of it: exact table, index, bucket and key"
  }

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.this.policy).Statement :
      statement.Sid => join(" ", flatten([statement.Condition.StringEquals["kms:ViaService"]]))
      if can(statement.Condition)
      } == {
      Decrypt        = "dynamodb.eu-central-1.amazonaws.com s3.eu-central-1.amazonaws.com"
      EncryptObjects = "s3.eu-central-1.amazonaws.com"
    }
    error_message = "the key is used by table and bucket, in their region, never by the role itself"
  }

  assert {
    condition     = output.policy == aws_iam_role_policy.this.policy && output.writable
    error_message = "the policy is put out"
  }
}

run "fence" {
  variables {
    writable = false
  }

  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement if statement.Effect == "Deny"
      ] == [{
        Sid    = "Fence"
        Effect = "Deny"
        NotAction = [
          "dynamodb:BatchGetItem",
          "dynamodb:GetItem",
          "dynamodb:Query",
          "dynamodb:Scan",
          "kms:Decrypt",
          "s3:GetObject",
          "s3:ListBucket",
          "s3:ListBucketMultipartUploads",
          "s3:ListBucketVersions",
          "s3:ListMultipartUploadParts",
        ]
        Resource = [
          "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev",
          "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev/*",
          "arn:aws:s3:::documents",
          "arn:aws:s3:::documents/*",
          "arn:aws:kms:eu-central-1:111122223333:key/central",
        ]
    }]
    error_message = "all but the reads is denied, of table, bucket and key"
  }

  assert {
    condition     = !output.writable
    error_message = "and it is told"
  }
}

run "restored_table" {
  variables {
    table_arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev-restored"
    index_arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev-restored/index/due"
  }

  assert {
    condition     = !strcontains(replace(aws_iam_role_policy.this.policy, "strongroom-dev-restored", ""), "table/strongroom-dev")
    error_message = "the role follows the table, and lets go of the old one"
  }
}
