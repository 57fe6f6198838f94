data "aws_caller_identity" "current" {}

data "aws_default_tags" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  # Written out, not taken from the cluster: the cluster's role and log group come before it.
  cluster_arn   = "arn:${local.partition}:eks:${local.region}:${local.account}:cluster/${var.name}"
  log_group     = "/aws/eks/${var.name}/cluster"
  log_group_arn = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}"
}

resource "aws_eks_cluster" "this" {
  #checkov:skip=CKV_AWS_339:its list ends with 1.35; preflight asks AWS what EKS supports, and until when
  name                = var.name
  version             = var.kubernetes_version
  role_arn            = aws_iam_role.cluster.arn
  deletion_protection = var.deletion_protection

  enabled_cluster_log_types = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  # Fixed at creation: add-ons are EKS's to manage from the first (addons.tf).
  bootstrap_self_managed_addons = false

  access_config {
    # Access entries alone (access.tf): no aws-auth ConfigMap that a slip of the hand empties, and
    # no administrator whose only claim is that he made the cluster.
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false
  }

  vpc_config {
    subnet_ids              = var.private_subnet_ids
    security_group_ids      = [aws_security_group.api.id]
    endpoint_private_access = true
    endpoint_public_access  = var.endpoint_public_access
    public_access_cidrs     = var.endpoint_public_access ? var.public_access_cidrs : null
  }

  kubernetes_network_config {
    ip_family         = "ipv4"
    service_ipv4_cidr = var.service_cidr
  }

  encryption_config {
    resources = ["secrets"]

    provider {
      key_arn = aws_kms_key.this.arn
    }
  }

  upgrade_policy {
    support_type = var.support_type
  }

  zonal_shift_config {
    enabled = var.zonal_shift
  }

  # The log group first, else EKS makes its own, without retention or key.
  depends_on = [
    aws_cloudwatch_log_group.control_plane,
    aws_iam_role_policy.cluster_key,
    aws_iam_role_policy_attachment.cluster,
  ]

  lifecycle {
    # EKS does not tell them afterwards, so that an imported cluster would be replaced over them.
    ignore_changes = [
      access_config[0].bootstrap_cluster_creator_admin_permissions,
      bootstrap_self_managed_addons,
    ]
  }
}

resource "aws_cloudwatch_log_group" "control_plane" {
  #checkov:skip=CKV_AWS_338:How long logs are kept is the environment's choice, see log_retention_days
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}

# Beside EKS's own security group, which the nodes share: who else may speak with the API server.
resource "aws_security_group" "api" {
  name        = "${var.name}-api"
  description = "HTTPS to the private endpoint of the API server"
  vpc_id      = var.vpc_id
  egress      = [] # the way to the nodes is in EKS's own group

  tags = { Name = "${var.name}-api" }
}

resource "aws_vpc_security_group_ingress_rule" "api_https" {
  for_each = var.private_access_cidrs

  security_group_id = aws_security_group.api.id
  description       = "HTTPS from ${each.key}"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443

  tags = { Name = "${var.name}-api-https" }
}

# Lets pods assume roles by their service account. IAM knows the issuer's authority, so there is no
# thumbprint that has to follow a certificate.
resource "aws_iam_openid_connect_provider" "this" {
  url            = aws_eks_cluster.this.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]

  tags = { Name = var.name }
}
