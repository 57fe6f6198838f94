mock_provider "aws" {}

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

run "name_is_no_prefix_of_everything" {
  command = plan

  variables {
    name = "*"
  }

  expect_failures = [var.name]
}

run "name_leaves_room_for_what_is_appended" {
  command = plan

  variables {
    name = "strongroom-with-a-name-of-forty-one-signs"
  }

  expect_failures = [var.name]
}

run "environment_is_a_plain_word" {
  command = plan

  variables {
    environment = "dev:*"
  }

  expect_failures = [var.environment]
}

run "owner_has_no_wildcard" {
  command = plan

  variables {
    github = { owner = "exam*", owner_id = "1001", repository = "strongroom", repository_id = "2002" }
  }

  expect_failures = [var.github]
}

run "repository_comes_without_its_owner" {
  command = plan

  variables {
    github = { owner = "example", owner_id = "1001", repository = "example/strongroom", repository_id = "2002" }
  }

  expect_failures = [var.github]
}

run "ids_are_numbers" {
  command = plan

  variables {
    github = { owner = "example", owner_id = "MDQ6VXNlcjE=", repository = "strongroom", repository_id = "2002" }
  }

  expect_failures = [var.github]
}

run "an_immutable_subject_needs_both_ids" {
  command = plan

  variables {
    github = { owner = "example", owner_id = "1001", repository = "strongroom" }
  }

  expect_failures = [var.immutable_subject]
}

run "plan_environment_has_no_wildcard" {
  command = plan

  variables {
    plan_environment = "dev-*"
  }

  expect_failures = [var.plan_environment]
}

run "apply_environment_has_no_wildcard" {
  command = plan

  variables {
    apply_environment = "dev*"
  }

  expect_failures = [var.apply_environment]
}

run "push_environment_is_one" {
  command = plan

  variables {
    push_environment = "release:ref:refs/heads/main"
  }

  expect_failures = [var.push_environment]
}

run "who_plans_does_not_apply" {
  command = plan

  variables {
    plan_environment = "Dev"
  }

  expect_failures = [var.apply_environment]
}

run "who_pushes_does_not_apply" {
  command = plan

  variables {
    push_environment = "dev"
  }

  expect_failures = [var.apply_environment]
}

run "branch_is_no_pattern" {
  command = plan

  variables {
    branch = "release/*"
  }

  expect_failures = [var.branch]
}

run "branch_comes_without_refs" {
  command = plan

  variables {
    branch = "refs/heads/main"
  }

  expect_failures = [var.branch]
}

run "a_workflow_is_one_file" {
  command = plan

  variables {
    workflows = { apply = ["*.yml"] }
  }

  expect_failures = [var.workflows]
}

run "each_role_has_a_workflow" {
  command = plan

  variables {
    workflows = { push = [] }
  }

  expect_failures = [var.workflows]
}

run "one_does_not_push_everywhere" {
  command = plan

  variables {
    push_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/*"]
  }

  expect_failures = [var.push_repository_arns]
}

run "state_bucket_is_a_name" {
  command = plan

  variables {
    state_bucket = "arn:aws:s3:::strongroom-dev-111122223333-tfstate"
  }

  expect_failures = [var.state_bucket]
}

run "there_is_a_region" {
  command = plan

  variables {
    regions = []
  }

  expect_failures = [var.regions]
}

run "a_region_is_no_pattern" {
  command = plan

  variables {
    regions = ["eu-*"]
  }

  expect_failures = [var.regions]
}
