mock_provider "aws" {
  override_data {
    target = data.aws_caller_identity.this
    values = { account_id = "111122223333" }
  }

  override_data {
    target = data.aws_partition.this
    values = { partition = "aws" }
  }

  override_resource {
    target          = aws_iam_openid_connect_provider.github
    override_during = plan
    values          = { arn = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com" }
  }

  override_resource {
    target          = aws_iam_policy.boundary
    override_during = plan
    values          = { arn = "arn:aws:iam::111122223333:policy/strongroom-dev-boundary" }
  }
}

variables {
  name         = "strongroom-dev"
  environment  = "dev"
  state_bucket = "strongroom-dev-111122223333-tfstate"
  regions      = ["eu-central-1"]
  github = {
    owner         = "example"
    owner_id      = "1001"
    repository    = "strongroom"
    repository_id = "2002"
  }
}

run "the_provider_has_no_thumbprint" {
  command = plan

  assert {
    condition     = aws_iam_openid_connect_provider.github.url == "https://token.actions.githubusercontent.com"
    error_message = "Not GitHub's issuer."
  }

  assert {
    condition     = aws_iam_openid_connect_provider.github.client_id_list == toset(["sts.amazonaws.com"])
    error_message = "The audience is not sts.amazonaws.com."
  }
}

run "each_role_trusts_its_own_environment_alone" {
  command = plan

  variables {
    push_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/strongroom"]
  }

  assert {
    condition = alltrue([
      for environment, given in {
        "dev-plan" = {
          policy = aws_iam_role.plan.assume_role_policy
          files  = ["drift.yml", "plan.yml", "promotion.yml", "versions.yml"]
          refs   = ["refs/heads/main", "refs/heads/gh-readonly-queue/main/*", "refs/pull/*/merge"]
          from   = "refs/*"
        }
        "dev" = {
          policy = aws_iam_role.apply.assume_role_policy
          files  = ["apply.yml"]
          refs   = ["refs/heads/main"]
          from   = "refs/heads/main"
        }
        "release" = {
          policy = aws_iam_role.push[0].assume_role_policy
          files  = ["release.yml"]
          refs   = ["refs/heads/main"]
          from   = "refs/heads/main"
        }
      } :
      jsondecode(given.policy) == {
        Version = "2012-10-17"
        Statement = [{
          Effect    = "Allow"
          Action    = "sts:AssumeRoleWithWebIdentity"
          Principal = { Federated = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com" }
          Condition = {
            StringEquals = {
              "token.actions.githubusercontent.com:aud"           = "sts.amazonaws.com"
              "token.actions.githubusercontent.com:sub"           = "repo:example@1001/strongroom@2002:environment:${environment}"
              "token.actions.githubusercontent.com:environment"   = environment
              "token.actions.githubusercontent.com:repository_id" = "2002"
            }
            StringLike = {
              "token.actions.githubusercontent.com:ref" = given.refs
              "token.actions.githubusercontent.com:job_workflow_ref" = [
                for file in given.files : "example/strongroom/.github/workflows/${file}@${given.from}"
              ]
            }
          }
        }]
      }
    ])
    error_message = "A role trusts more or other than the workflows of its environment."
  }

  assert {
    condition = toset([
      aws_iam_role.plan.permissions_boundary,
      aws_iam_role.apply.permissions_boundary,
      aws_iam_role.push[0].permissions_boundary,
    ]) == toset(["arn:aws:iam::111122223333:policy/strongroom-dev-boundary"])
    error_message = "A role is without the boundary."
  }
}

run "the_old_subject_is_by_choice" {
  command = plan

  variables {
    immutable_subject = false
    github            = { owner = "example", repository = "strongroom" }
  }

  assert {
    condition     = jsondecode(aws_iam_role.apply.assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] == "repo:example/strongroom:environment:dev"
    error_message = "Not the old form of the subject."
  }
}

run "environments_can_be_named" {
  command = plan

  variables {
    plan_environment     = "review"
    apply_environment    = "live.dev"
    push_environment     = "build"
    push_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/strongroom"]
  }

  assert {
    condition = [
      for policy in [aws_iam_role.plan.assume_role_policy, aws_iam_role.apply.assume_role_policy, aws_iam_role.push[0].assume_role_policy] :
      split(":environment:", jsondecode(policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"])[1]
    ] == ["review", "live.dev", "build"]
    error_message = "The roles do not trust the environments that were named."
  }
}

run "without_repositories_nobody_pushes" {
  command = plan

  assert {
    condition     = length(aws_iam_role.push) == 0 && length(aws_iam_role_policy.push) == 0
    error_message = "There is a push role with nothing to push to."
  }

  assert {
    condition     = output.push_role_arn == null
    error_message = "push_role_arn must be null without a push role."
  }
}

run "the_push_role_reaches_the_named_repositories" {
  command = plan

  variables {
    push_repository_arns = [
      "arn:aws:ecr:eu-central-1:111122223333:repository/strongroom",
      "arn:aws:ecr:eu-central-1:111122223333:repository/strongroom/load",
    ]
  }

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.push[0].policy).Statement : statement.Sid => statement.Resource
      } == {
      LogIn = "*"
      Push = [
        "arn:aws:ecr:eu-central-1:111122223333:repository/strongroom",
        "arn:aws:ecr:eu-central-1:111122223333:repository/strongroom/load",
      ]
    }
    error_message = "The push role reaches other than the named repositories."
  }
}

run "policies_fit_where_they_are_put" {
  command = plan

  variables {
    # Names as long as they may be: the sizes must hold for them too.
    name         = "strongroom-quite-a-long-name-of-40-signs"
    state_bucket = "strongroom-quite-a-long-name-of-forty-signs-111122223333-tfstat"
    regions      = ["eu-central-1", "eu-west-1", "eu-west-2", "eu-north-1"]
    github = {
      owner         = "an-organization-of-quite-a-long-name"
      owner_id      = "1000000001"
      repository    = "strongroom-infrastructure"
      repository_id = "2000000002"
    }
  }

  assert {
    condition     = length(aws_iam_policy.boundary.policy) <= 6144
    error_message = "A managed policy has at most 6,144 characters, the boundary ${length(aws_iam_policy.boundary.policy)}."
  }

  assert {
    condition     = length(aws_iam_role.plan.assume_role_policy) <= 2048
    error_message = "A trust policy has at most 2,048 characters unless AWS raises the quota, plan's ${length(aws_iam_role.plan.assume_role_policy)}."
  }

  assert {
    condition     = length(aws_iam_policy.reads.policy) <= 6144
    error_message = "A managed policy has at most 6,144 characters, what both read ${length(aws_iam_policy.reads.policy)}."
  }

  assert {
    condition     = length(aws_iam_role_policy.plan.policy) <= 10240
    error_message = "A role's inline policies have at most 10,240 characters, plan's ${length(aws_iam_role_policy.plan.policy)}."
  }

  assert {
    condition     = length(aws_iam_role_policy.apply.policy) <= 10240
    error_message = "A role's inline policies have at most 10,240 characters, apply's ${length(aws_iam_role_policy.apply.policy)}."
  }
}

run "roles_are_made_within_the_boundary_alone" {
  command = plan

  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.apply.policy).Statement : statement.Condition
      if contains(flatten([statement.Action]), "iam:CreateRole")
    ] == [{ StringEquals = { "iam:PermissionsBoundary" = "arn:aws:iam::111122223333:policy/strongroom-dev-boundary" } }]
    error_message = "The apply role may make a role without the boundary."
  }
}
