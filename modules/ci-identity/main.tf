# Who a workflow of GitHub is in this account. What each may do is in boundary.tf, plan.tf,
# apply.tf and push.tf.

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition

  issuer = "token.actions.githubusercontent.com"

  environments = {
    plan  = coalesce(var.plan_environment, "${var.environment}-plan")
    apply = coalesce(var.apply_environment, var.environment)
    push  = var.push_environment
  }

  repository = (
    var.immutable_subject
    ? "${var.github.owner}@${coalesce(var.github.owner_id, "missing")}/${var.github.repository}@${coalesce(var.github.repository_id, "missing")}"
    : "${var.github.owner}/${var.github.repository}"
  )

  # Equality, never likeness: a subject with a wildcard is somebody else's subject too. And never
  # ForAllValues, which holds as well where the token lacks the claim.
  trust = {
    for role, environment in local.environments : role => jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Effect    = "Allow"
        Action    = "sts:AssumeRoleWithWebIdentity"
        Principal = { Federated = aws_iam_openid_connect_provider.github.arn }
        Condition = {
          StringEquals = {
            "${local.issuer}:aud" = "sts.amazonaws.com"
            "${local.issuer}:sub" = "repo:${local.repository}:environment:${environment}"
          }
        }
      }]
    })
  }

  arn_prefix   = "arn:${local.partition}:iam::${local.account}"
  boundary_arn = "${local.arn_prefix}:policy/${var.name}-boundary"

  state_arn = "arn:${local.partition}:s3:::${var.state_bucket}"
}

# No thumbprints: AWS verifies GitHub's certificate against its own list of authorities, and
# ignores them. https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}
