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

  # Where each role's workflows come from. What applies and pushes is main's alone, word for word; a
  # plan is made for pull requests too, whose refs have numbers.
  main  = "refs/heads/${var.branch}"
  pulls = ["refs/heads/gh-readonly-queue/${var.branch}/*", "refs/pull/*/merge"]
  refs  = { plan = concat([local.main], local.pulls), apply = [local.main], push = [local.main] }

  # A workflow that nobody else calls comes from the ref that it runs on, so that one says enough.
  workflow_refs = merge(local.refs, { plan = ["refs/*"] })

  workflow = "${var.github.owner}/${var.github.repository}/.github/workflows"

  # Equality, never likeness, of who it is: a subject with a wildcard is somebody else's subject too.
  # And never ForAllValues, which holds as well where the token lacks the claim. Of GitHub's claims
  # STS compares these and few more; a key that it does not know never matches.
  # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
  trust = {
    for role, environment in local.environments : role => jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Effect    = "Allow"
        Action    = "sts:AssumeRoleWithWebIdentity"
        Principal = { Federated = aws_iam_openid_connect_provider.github.arn }
        Condition = {
          StringEquals = merge(
            {
              "${local.issuer}:aud"         = "sts.amazonaws.com"
              "${local.issuer}:sub"         = "repo:${local.repository}:environment:${environment}"
              "${local.issuer}:environment" = environment
            },
            var.github.repository_id == null ? {} : {
              "${local.issuer}:repository_id" = var.github.repository_id
            },
          )
          StringLike = {
            "${local.issuer}:ref" = local.refs[role]
            "${local.issuer}:job_workflow_ref" = flatten([
              for file in sort(tolist(var.workflows[role])) : [
                for ref in local.workflow_refs[role] : "${local.workflow}/${file}@${ref}"
              ]
            ])
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
