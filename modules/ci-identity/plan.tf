# The plan role reads the configuration of what live/ is made of, and the state. It writes nothing,
# not even a lock: its plans take none. Nor can it store a plan file, since a job that can put a file
# where apply takes it from can put another one there. A pull request's plan is a summary; the file
# that is applied is made by a job of the apply environment. See README.md.

locals {
  # Lists are of no resource, and what is looked up by its id has no ARN yet: so these are of all
  # there is in the account, in its regions. None of them tells what is in a thing.
  reads = [
    "autoscaling:Describe*",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:ListTagsForResource",
    "dynamodb:Describe*",
    "dynamodb:GetResourcePolicy",
    "dynamodb:ListTagsOfResource",
    "ec2:Describe*",
    "ec2:GetManagedPrefixListEntries",
    "ec2:GetSecurityGroupsForVpc",
    "ecr:Describe*",
    "ecr:GetLifecyclePolicy",
    "ecr:GetRegistryPolicy",
    "ecr:GetRegistryScanningConfiguration",
    "ecr:GetRepositoryPolicy",
    "ecr:ListImages",
    "ecr:ListTagsForResource",
    "eks:Describe*",
    "eks:List*",
    "iam:Get*",
    "iam:List*",
    "kms:DescribeKey",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListAliases",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeys",
    "kms:ListResourceTags",
    "logs:DescribeLogGroups",
    "logs:ListTagsForResource",
    "logs:ListTagsLogGroup",
    "servicequotas:GetServiceQuota",
    "servicequotas:ListServiceQuotas",
  ]

  # ListBucket is how one learns that a bucket is there; it tells the names of objects, which are ids.
  bucket_reads = ["s3:Get*Configuration", "s3:GetBucket*", "s3:ListBucket", "s3:ListTagsForResource"]

  read_statements = [
    {
      Sid      = "Read"
      Effect   = "Allow"
      Action   = local.reads
      Resource = "*"
    },
    {
      Sid       = "ReadBuckets"
      Effect    = "Allow"
      Action    = local.bucket_reads
      Resource  = "arn:${local.partition}:s3:::*"
      Condition = { StringEquals = { "aws:ResourceAccount" = local.account } }
    },
    {
      # IAM and Route 53 are of no region, and a bucket's region is asked of another.
      Sid       = "NoOtherRegion"
      Effect    = "Deny"
      NotAction = ["iam:*", "route53:*", "s3:*", "sts:*"]
      Resource  = "*"
      Condition = { StringNotEquals = { "aws:RequestedRegion" = sort(tolist(var.regions)) } }
    },
  ]

  states  = "${local.state_arn}/*.tfstate"
  locks   = "${local.state_arn}/*.tflock"
  records = "${local.state_arn}/records/*" # of applies, without values: whose a lock is

  # What AWS itself publishes: which image of a node is the newest.
  images = "arn:${local.partition}:ssm:*:*:parameter/aws/service/eks/optimized-ami/*"

  # What documents, secrets and logs are made of. Nothing that plans or applies has to see any of
  # it; denied, and not just left out, so that a policy added later does not open it.
  content = [
    "ec2:GetConsoleOutput",
    "ec2:GetConsoleScreenshot",
    "ec2:GetPasswordData",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "eks:AccessKubernetesApi",
    "logs:FilterLogEvents",
    "logs:GetLog*",
    "logs:GetQueryResults",
    "logs:StartLiveTail",
    "logs:StartQuery",
    "logs:Unmask",
    "secretsmanager:BatchGetSecretValue",
    "secretsmanager:GetSecretValue",
    "sts:AssumeRole",
  ]

  items = [
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:ExportTableToPointInTime",
    "dynamodb:GetItem",
    "dynamodb:GetRecords",
    "dynamodb:ImportTable",
    "dynamodb:PartiQL*",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
  ]

  decryption = ["kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]

  object_reads  = ["s3:GetObject*"]
  object_writes = ["s3:AbortMultipartUpload", "s3:DeleteObject*", "s3:PutObject*", "s3:Replicate*", "s3:RestoreObject"]

  plan = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadState"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = [local.states, local.locks, local.records]
      },
      {
        Sid      = "ReadNewestImages"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = local.images
      },
      {
        Sid      = "NoContent"
        Effect   = "Deny"
        Action   = concat(local.content, local.items, local.decryption)
        Resource = "*"
      },
      {
        Sid         = "NoObjectsButState"
        Effect      = "Deny"
        Action      = local.object_reads
        NotResource = [local.states, local.locks, local.records]
      },
      {
        Sid         = "NoParametersButAwss"
        Effect      = "Deny"
        Action      = "ssm:GetParameter*"
        NotResource = local.images
      },
      {
        Sid      = "NoWrites"
        Effect   = "Deny"
        Action   = local.object_writes
        Resource = "*"
      },
      {
        # All that is not on the lists above, in services that are not thought of here too.
        Sid       = "NothingElse"
        Effect    = "Deny"
        NotAction = concat(local.reads, local.bucket_reads, ["s3:GetObject", "ssm:GetParameter"])
        Resource  = "*"
      },
    ]
  }
}

# A policy of its own, since apply reads the same, and a role's inline policies have room for 10,240
# characters alone.
resource "aws_iam_policy" "reads" {
  #checkov:skip=CKV_AWS_355:it reads configuration alone, and most of what lists or describes has no resource in IAM
  name        = "${var.name}-ci-reads"
  description = "What plans and applies read: configuration, no content"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.read_statements })
}

resource "aws_iam_role" "plan" {
  #checkov:skip=CKV_AWS_393:it knows owner/repository alone, and takes the ids of immutable subjects for another claim
  name                 = "${var.name}-ci-plan"
  description          = "Reads configuration and state for plans; writes nothing"
  assume_role_policy   = local.trust["plan"]
  permissions_boundary = aws_iam_policy.boundary.arn
}

resource "aws_iam_role_policy" "plan" {
  name   = "plan"
  role   = aws_iam_role.plan.name
  policy = jsonencode(local.plan)
}

resource "aws_iam_role_policy_attachment" "plan" {
  role       = aws_iam_role.plan.name
  policy_arn = aws_iam_policy.reads.arn
}
