# The apply role makes and changes what live/ is made of, and reads no content of it. What it cannot
# do, and an administrator's session can: change this module's own resources, empty a bucket (so
# destroying an environment that holds documents), widen the boundary, and whatever that keeps for
# administrators (boundary.tf): who may reach what holds data, and the end of a key.

locals {
  writes_here = {
    # RunInstances is asked of whoever makes a node group with a launch template.
    ec2 = {
      resources = [
        "arn:${local.partition}:ec2:*:${local.account}:*",
        "arn:${local.partition}:ec2:*::image/*",
        "arn:${local.partition}:ec2:*::snapshot/*",
      ]
      actions = [
        "ec2:AllocateAddress",
        "ec2:AssociateAddress",
        "ec2:AssociateRouteTable",
        "ec2:AttachInternetGateway",
        "ec2:AuthorizeSecurityGroup*",
        "ec2:CreateFlowLogs",
        "ec2:CreateInternetGateway",
        "ec2:CreateLaunchTemplate*",
        "ec2:CreateNatGateway",
        "ec2:CreateNetworkAclEntry",
        "ec2:CreateRoute",
        "ec2:CreateRouteTable",
        "ec2:CreateSecurityGroup",
        "ec2:CreateSubnet",
        "ec2:CreateTags",
        "ec2:CreateVpc",
        "ec2:CreateVpcEndpoint",
        "ec2:DeleteFlowLogs",
        "ec2:DeleteInternetGateway",
        "ec2:DeleteLaunchTemplate*",
        "ec2:DeleteNatGateway",
        "ec2:DeleteNetworkAclEntry",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteRoute",
        "ec2:DeleteRouteTable",
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteSubnet",
        "ec2:DeleteTags",
        "ec2:DeleteVpc",
        "ec2:DeleteVpcEndpoints",
        "ec2:DetachInternetGateway",
        "ec2:DetachNetworkInterface",
        "ec2:DisassociateAddress",
        "ec2:DisassociateRouteTable",
        "ec2:ModifyLaunchTemplate",
        "ec2:ModifySecurityGroupRules",
        "ec2:ModifySubnetAttribute",
        "ec2:ModifyVpcAttribute",
        "ec2:ModifyVpcEndpoint",
        "ec2:ReleaseAddress",
        "ec2:ReplaceRoute",
        "ec2:ReplaceRouteTableAssociation",
        "ec2:RevokeSecurityGroup*",
        "ec2:RunInstances",
        "ec2:UpdateSecurityGroupRuleDescriptions*",
      ]
    }
    eks = {
      resources = ["arn:${local.partition}:eks:*:${local.account}:*"]
      actions = [
        "eks:AssociateAccessPolicy",
        "eks:AssociateEncryptionConfig",
        "eks:CreateAccessEntry",
        "eks:CreateAddon",
        "eks:CreateCluster",
        "eks:CreateNodegroup",
        "eks:DeleteAccessEntry",
        "eks:DeleteAddon",
        "eks:DeleteCluster",
        "eks:DeleteNodegroup",
        "eks:DisassociateAccessPolicy",
        "eks:TagResource",
        "eks:UntagResource",
        "eks:UpdateAccessEntry",
        "eks:UpdateAddon",
        "eks:UpdateClusterConfig",
        "eks:UpdateClusterVersion",
        "eks:UpdateNodegroupConfig",
        "eks:UpdateNodegroupVersion",
      ]
    }
    dynamodb = {
      resources = ["arn:${local.partition}:dynamodb:*:${local.account}:table/${var.name}*"]
      actions = [
        "dynamodb:CreateTable",
        "dynamodb:CreateTableReplica",
        "dynamodb:DeleteTable",
        "dynamodb:DeleteTableReplica",
        "dynamodb:TagResource",
        "dynamodb:UntagResource",
        "dynamodb:UpdateContinuousBackups",
        "dynamodb:UpdateTable",
        "dynamodb:UpdateTimeToLive",
      ]
    }
    ecr = {
      resources = ["arn:${local.partition}:ecr:*:${local.account}:repository/*"]
      actions = [
        "ecr:CreateRepository",
        "ecr:DeleteLifecyclePolicy",
        "ecr:DeleteRepository",
        "ecr:PutImageScanningConfiguration",
        "ecr:PutImageTagMutability",
        "ecr:PutLifecyclePolicy",
        "ecr:TagResource",
        "ecr:UntagResource",
      ]
    }
    kms = {
      resources = [
        "arn:${local.partition}:kms:*:${local.account}:alias/${var.name}*",
        "arn:${local.partition}:kms:*:${local.account}:key/*",
      ]
      actions = [
        "kms:CreateAlias",
        "kms:DeleteAlias",
        "kms:EnableKeyRotation",
        "kms:TagResource",
        "kms:UntagResource",
        "kms:UpdateAlias",
        "kms:UpdateKeyDescription",
      ]
    }
    cloudwatch = {
      resources = ["arn:${local.partition}:cloudwatch:*:${local.account}:alarm:${var.name}*"]
      actions = [
        "cloudwatch:DeleteAlarms",
        "cloudwatch:PutMetricAlarm",
        "cloudwatch:TagResource",
        "cloudwatch:UntagResource",
      ]
    }
    logs = {
      resources = ["arn:${local.partition}:logs:*:${local.account}:log-group:*"]
      actions = [
        "logs:AssociateKmsKey",
        "logs:CreateLogGroup",
        "logs:DeleteLogGroup",
        "logs:DeleteRetentionPolicy",
        "logs:DisassociateKmsKey",
        "logs:PutRetentionPolicy",
        "logs:TagResource",
        "logs:UntagResource",
      ]
    }
  }

  own_roles = "${local.arn_prefix}:role/${var.name}*"

  apply_iam = [
    {
      Sid       = "BoundedRoles"
      Effect    = "Allow"
      Action    = local.bounded_role_actions
      Resource  = local.own_roles
      Condition = { StringEquals = { "iam:PermissionsBoundary" = local.boundary_arn } }
    },
    {
      Sid    = "Roles"
      Effect = "Allow"
      Action = [
        "iam:DeleteRole",
        "iam:TagRole",
        "iam:UntagRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:UpdateRole",
        "iam:UpdateRoleDescription",
      ]
      Resource = local.own_roles
    },
    {
      Sid    = "Policies"
      Effect = "Allow"
      Action = [
        "iam:CreatePolicy",
        "iam:CreatePolicyVersion",
        "iam:DeletePolicy",
        "iam:DeletePolicyVersion",
        "iam:TagPolicy",
        "iam:UntagPolicy",
      ]
      Resource = "${local.arn_prefix}:policy/${var.name}*"
    },
    {
      Sid    = "ClusterIssuers"
      Effect = "Allow"
      Action = [
        "iam:CreateOpenIDConnectProvider",
        "iam:DeleteOpenIDConnectProvider",
        "iam:TagOpenIDConnectProvider",
        "iam:UntagOpenIDConnectProvider",
        "iam:UpdateOpenIDConnectProviderThumbprint",
      ]
      Resource = "${local.arn_prefix}:oidc-provider/oidc.eks.*"
    },
    {
      Sid      = "GiveRolesToServices"
      Effect   = "Allow"
      Action   = "iam:PassRole"
      Resource = local.own_roles
      Condition = {
        StringEquals = {
          "iam:PassedToService" = [
            "ec2.amazonaws.com",
            "eks.amazonaws.com",
            "s3.amazonaws.com",
            "vpc-flow-logs.amazonaws.com",
          ]
        }
      }
    },
    {
      Sid      = "ServiceLinkedRoles"
      Effect   = "Allow"
      Action   = "iam:CreateServiceLinkedRole"
      Resource = "${local.arn_prefix}:role/aws-service-role/*"
      Condition = {
        StringEquals = {
          "iam:AWSServiceName" = [
            "autoscaling.amazonaws.com",
            "eks-nodegroup.amazonaws.com",
            "eks.amazonaws.com",
            "replication.dynamodb.amazonaws.com",
            "replication.ecr.amazonaws.com",
            "spot.amazonaws.com",
          ]
        }
      }
    },
  ]

  apply_writes = concat(
    [
      for service, write in local.writes_here : {
        Sid      = "Write${title(service)}"
        Effect   = "Allow"
        Action   = write.actions
        Resource = write.resources
      }
    ],
    [
      {
        # Of these AWS knows no resource: a key has no name before it is made, and a registry has
        # one policy and one list of replications.
        Sid      = "WriteRegions"
        Effect   = "Allow"
        Action   = ["ecr:PutReplicationConfiguration", "kms:CreateKey"]
        Resource = "*"
      },
      {
        # An endpoint or a cluster with private names puts its zone, which is AWS's, at our network.
        # https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html
        Sid      = "PrivateNames"
        Effect   = "Allow"
        Action   = "route53:AssociateVPCWithHostedZone"
        Resource = "*"
      },
      {
        # A table, a repository or a cluster that is made with a key lets its service use that key.
        Sid       = "GiveKeysToServices"
        Effect    = "Allow"
        Action    = ["kms:CreateGrant", "kms:RetireGrant"]
        Resource  = "arn:${local.partition}:kms:*:${local.account}:key/*"
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
      {
        Sid    = "WriteBuckets"
        Effect = "Allow"
        Action = [
          "s3:CreateBucket",
          "s3:DeleteBucket",
          "s3:PutBucketCORS",
          "s3:PutBucketLogging",
          "s3:PutBucketOwnershipControls",
          "s3:PutBucketPublicAccessBlock",
          "s3:PutBucketTagging",
          "s3:PutBucketVersioning",
          "s3:PutEncryptionConfiguration",
          "s3:PutLifecycleConfiguration",
          "s3:TagResource",
          "s3:UntagResource",
        ]
        Resource = "arn:${local.partition}:s3:::${var.name}*"
      },
      {
        # AWS asks whoever adds a replica of a table for these, and uses them on their behalf.
        # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2gt_IAM.html
        Sid    = "FillReplicas"
        Effect = "Allow"
        Action = [
          "dynamodb:BatchWriteItem",
          "dynamodb:DeleteItem",
          "dynamodb:GetItem",
          "dynamodb:PutItem",
          "dynamodb:Query",
          "dynamodb:Scan",
          "dynamodb:UpdateItem",
        ]
        Resource  = "arn:${local.partition}:dynamodb:*:${local.account}:table/${var.name}*"
        Condition = { "ForAnyValue:StringEquals" = { "aws:CalledVia" = "dynamodb.amazonaws.com" } }
      },
      {
        # DynamoDB tries the key of a table on behalf of whoever makes the table.
        Sid       = "TryTableKeys"
        Effect    = "Allow"
        Action    = local.decryption
        Resource  = "arn:${local.partition}:kms:*:${local.account}:key/*"
        Condition = { StringEquals = { "kms:ViaService" = local.table_services } }
      },
      {
        Sid      = "State"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject"]
        Resource = [local.states, local.plans, local.records]
      },
      {
        Sid      = "Lock"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = local.locks
      },
    ],
  )

  plans          = "${local.state_arn}/plans/*"
  table_services = [for region in sort(tolist(var.regions)) : "dynamodb.${region}.amazonaws.com"]

  apply_denies = [
    {
      Sid      = "NoContent"
      Effect   = "Deny"
      Action   = concat(local.content, ["ssm:GetParameter*"])
      Resource = "*"
    },
    {
      # ForAllValues holds where nothing was called via anything: a direct call is denied.
      Sid       = "NoItems"
      Effect    = "Deny"
      Action    = local.items
      Resource  = "*"
      Condition = { "ForAllValues:StringNotEquals" = { "aws:CalledVia" = "dynamodb.amazonaws.com" } }
    },
    {
      Sid       = "NoDecryption"
      Effect    = "Deny"
      Action    = local.decryption
      Resource  = "*"
      Condition = { StringNotEquals = { "kms:ViaService" = local.table_services } }
    },
    {
      Sid         = "NoObjectsButState"
      Effect      = "Deny"
      Action      = concat(local.object_reads, local.object_writes)
      NotResource = [local.states, local.locks, local.plans, local.records]
    },
    {
      # Who may apply does not let itself into the cluster by that.
      Sid       = "NoAccessForItself"
      Effect    = "Deny"
      Action    = ["eks:AssociateAccessPolicy", "eks:CreateAccessEntry"]
      Resource  = "*"
      Condition = { ArnLike = { "eks:principalArn" = "${local.arn_prefix}:role/${var.name}-ci-*" } }
    },
  ]

  # A role's inline policies have 10,240 characters together; a test measures these.
  apply = {
    Version   = "2012-10-17"
    Statement = concat(local.apply_iam, local.apply_writes, local.apply_denies)
  }
}

resource "aws_iam_role" "apply" {
  #checkov:skip=CKV_AWS_393:it knows owner/repository alone, and takes the ids of immutable subjects for another claim
  name                 = "${var.name}-ci-apply"
  description          = "Applies what was reviewed, for jobs of the apply environment"
  assume_role_policy   = local.trust["apply"]
  permissions_boundary = aws_iam_policy.boundary.arn
  # As long as the job that applies may take: credentials that end half-way leave a lock behind.
  max_session_duration = 2 * 3600
}

resource "aws_iam_role_policy" "apply" {
  #checkov:skip=CKV_AWS_290:new keys, a registry's settings and AWS's own zones have no resource in IAM; the rest names its own
  #checkov:skip=CKV_AWS_355:new keys, a registry's settings and AWS's own zones have no resource in IAM; the rest names its own
  name   = "apply"
  role   = aws_iam_role.apply.name
  policy = jsonencode(local.apply)
}

resource "aws_iam_role_policy_attachment" "apply" {
  role       = aws_iam_role.apply.name
  policy_arn = aws_iam_policy.reads.arn
}
