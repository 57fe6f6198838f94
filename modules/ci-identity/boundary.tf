# What no role in the account can exceed, whatever its own policies say: the roles of CI, of the
# cluster and its nodes, of flow logs and replication, and the service's. It grants nothing by
# itself. It has to stay below the 6,144 characters of a managed policy; a test measures it.
#
# A new service in live/ begins here, in an administrator's session: no bounded role, CI's among
# them, can widen its own bounds.

locals {
  boundary = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Services"
        Effect = "Allow"
        Action = [
          "autoscaling:*",
          "cloudwatch:*Alarm*",
          "cloudwatch:*Tag*",
          "cloudwatch:PutMetricData",
          "dynamodb:*",
          "ec2:*",
          "ecr:*",
          "eks-auth:*",
          "eks:*",
          "elasticloadbalancing:*",
          "iam:*OpenIDConnectProvider*",
          "iam:*Policy*",
          "iam:*Role*",
          "iam:Get*",
          "iam:List*",
          "kms:*",
          "logs:*",
          "route53:AssociateVPCWithHostedZone",
          "s3:*",
          "servicequotas:Get*",
          "servicequotas:List*",
          "ssm:GetParameter",
          "sts:GetCallerIdentity",
        ]
        Resource = "*"
      },
      {
        Sid       = "OnlyBoundedRoles"
        Effect    = "Deny"
        Action    = local.bounded_role_actions
        Resource  = "*"
        Condition = { StringNotEquals = { "iam:PermissionsBoundary" = local.boundary_arn } }
      },
      {
        # The boundary, CI's own roles and whom they trust: for an administrator's session alone.
        Sid       = "NotItself"
        Effect    = "Deny"
        NotAction = ["iam:Get*", "iam:List*"]
        Resource = [
          local.boundary_arn,
          "${local.arn_prefix}:policy/${var.name}-ci-*",
          "${local.arn_prefix}:role/${var.name}-ci-*",
          "${local.arn_prefix}:oidc-provider/${local.issuer}",
        ]
      },
      {
        # Whom a service's role trusts. A role of that name cannot be made anew with other trust, either.
        Sid      = "ServiceRoles"
        Effect   = "Deny"
        Action   = ["iam:DeleteRole", "iam:UpdateAssumeRolePolicy"]
        Resource = local.data_roles
      },
      {
        # IAM compares no principals in a policy that is put, so no such policy is put at all: on what
        # holds data, an administrator's session decides who else reaches it, where it is copied to,
        # and when a key ends.
        Sid    = "Administrators"
        Effect = "Deny"
        Action = [
          "dynamodb:DeleteResourcePolicy",
          "dynamodb:PutResourcePolicy",
          "ecr:DeleteRegistryPolicy",
          "ecr:DeleteRepositoryPolicy",
          "ecr:PutRegistryPolicy",
          "ecr:SetRepositoryPolicy",
          "kms:DisableKey",
          "kms:PutKeyPolicy",
          "kms:ScheduleKeyDeletion",
          "s3:CreateAccessPoint*",
          "s3:DeleteBucketPolicy",
          "s3:PutAccessPoint*",
          "s3:PutBucketAcl",
          "s3:PutBucketPolicy",
          "s3:PutObject*Acl",
          "s3:PutReplicationConfiguration",
        ]
        Resource = "*"
      },
      {
        # Else a new role, which may trust anybody, would be the way to the data.
        Sid       = "DataForItsRoles"
        Effect    = "Deny"
        Action    = concat(local.object_reads, local.items_read)
        Resource  = "*"
        Condition = { ArnNotLike = { "aws:PrincipalArn" = concat(local.data_roles, ["${local.arn_prefix}:role/${var.name}-ci-*"]) } }
      },
      {
        # No lasting credentials, no way out of the organization, no blinding of the audit: said
        # here also for the day when the first statement names more services.
        Sid    = "Never"
        Effect = "Deny"
        Action = [
          "access-analyzer:DeleteAnalyzer",
          "account:*",
          "cloudtrail:Delete*",
          "cloudtrail:PutEventSelectors",
          "cloudtrail:StopLogging",
          "cloudtrail:UpdateTrail",
          "config:Delete*",
          "config:StopConfigurationRecorder",
          "guardduty:Delete*",
          "guardduty:Disassociate*",
          "guardduty:UpdateDetector",
          "iam:*AccessKey*",
          "iam:*LoginProfile*",
          "iam:*SAMLProvider*",
          "iam:AddUserToGroup",
          "iam:AttachGroupPolicy",
          "iam:AttachUserPolicy",
          "iam:CreateUser",
          "iam:DeleteRolePermissionsBoundary",
          "iam:DeleteUserPermissionsBoundary",
          "iam:PutGroupPolicy",
          "iam:PutUserPermissionsBoundary",
          "iam:PutUserPolicy",
          "organizations:*",
          "s3:PutAccountPublicAccessBlock",
          "securityhub:Delete*",
          "securityhub:Disable*",
        ]
        Resource = "*"
      },
      {
        # Its bucket is made and kept by `terragrunt backend bootstrap`; its past is not erased.
        Sid    = "StateStays"
        Effect = "Deny"
        Action = [
          "s3:BypassGovernanceRetention",
          "s3:DeleteBucket*",
          "s3:DeleteObjectVersion*",
          "s3:PutBucket*",
          "s3:PutEncryptionConfiguration",
          "s3:PutLifecycleConfiguration",
          "s3:PutReplicationConfiguration",
          "s3:TagResource",
          "s3:UntagResource",
        ]
        Resource = [local.state_arn, "${local.state_arn}/*"]
      },
    ]
  }

  # Of workload-identity and document-store, in each region: their prefix may have the region's name.
  data_roles = ["${local.arn_prefix}:role/${var.name}*-service", "${local.arn_prefix}:role/${var.name}*-replication-*"]

  items_read = [
    "dynamodb:BatchGetItem",
    "dynamodb:ExportTableToPointInTime",
    "dynamodb:GetItem",
    "dynamodb:GetRecords",
    "dynamodb:PartiQL*",
    "dynamodb:Query",
    "dynamodb:Scan",
  ]

  # The actions that know the boundary of the role they are about. The others (such as
  # UpdateAssumeRolePolicy) are held to the account's own roles by their names, in apply.tf.
  bounded_role_actions = [
    "iam:AttachRolePolicy",
    "iam:CreateRole",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePolicy",
  ]
}

resource "aws_iam_policy" "boundary" {
  #checkov:skip=CKV_AWS_286:a boundary grants nothing; what it denies is what keeps a role from widening itself
  #checkov:skip=CKV_AWS_287:a boundary grants nothing; lasting credentials are denied
  #checkov:skip=CKV_AWS_288:a boundary grants nothing; the service's own role is within it and reads documents
  #checkov:skip=CKV_AWS_289:a boundary grants nothing; roles can be made within it alone
  #checkov:skip=CKV_AWS_290:a boundary grants nothing; its roles name what they write
  #checkov:skip=CKV_AWS_355:a boundary grants nothing; its roles name their resources
  name        = "${var.name}-boundary"
  description = "What no role in this account can exceed"
  policy      = jsonencode(local.boundary)
}
