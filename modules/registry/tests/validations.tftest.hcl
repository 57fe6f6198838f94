mock_provider "aws" {
  override_data {
    target = data.aws_caller_identity.this
    values = { account_id = "222233334444" }
  }

  override_data {
    target = data.aws_region.this
    values = { region = "eu-central-1" }
  }
}

variables {
  repositories = ["strongroom"]
}

run "there_is_a_repository" {
  command = plan

  variables {
    repositories = []
  }

  expect_failures = [var.repositories]
}

run "a_repository_is_no_pattern" {
  command = plan

  variables {
    repositories = ["strongroom/*"]
  }

  expect_failures = [var.repositories]
}

run "a_repository_comes_without_its_registry" {
  command = plan

  variables {
    repositories = ["111122223333.dkr.ecr.eu-central-1.amazonaws.com/Strongroom"]
  }

  expect_failures = [var.repositories]
}

run "a_destination_is_an_account" {
  command = plan

  variables {
    replication_destinations = [{ account_id = "prod", region = "eu-west-1" }]
  }

  expect_failures = [var.replication_destinations]
}

run "a_destination_is_in_a_region" {
  command = plan

  variables {
    replication_destinations = [{ account_id = "333344445555", region = "eu-west-1a" }]
  }

  expect_failures = [var.replication_destinations]
}

run "a_destination_is_named_once" {
  command = plan

  variables {
    replication_destinations = [
      { account_id = "333344445555", region = "eu-west-1" },
      { account_id = "333344445555", region = "eu-west-1" },
    ]
  }

  expect_failures = [var.replication_destinations]
}

run "destinations_are_as_many_as_ecr_takes" {
  command = plan

  variables {
    replication_destinations = [for number in range(26) : { account_id = "3333444455${number + 10}", region = "eu-west-1" }]
  }

  expect_failures = [var.replication_destinations]
}

run "a_destination_is_another_registry" {
  command = plan

  variables {
    replication_destinations = [{ account_id = "222233334444", region = "eu-central-1" }]
  }

  expect_failures = [aws_ecr_replication_configuration.this]
}

run "a_source_is_an_account" {
  command = plan

  variables {
    replication_source_account_ids = ["*"]
  }

  expect_failures = [var.replication_source_account_ids]
}

run "a_source_is_another_account" {
  command = plan

  variables {
    replication_source_account_ids = ["222233334444"]
  }

  expect_failures = [aws_ecr_registry_policy.this]
}

run "not_everybody_pulls" {
  command = plan

  variables {
    pull_principal_arns = ["*"]
  }

  expect_failures = [var.pull_principal_arns]
}

run "what_is_being_pushed_does_not_expire" {
  command = plan

  variables {
    expire_untagged_days = 1
  }

  expect_failures = [var.expire_untagged_days]
}

run "a_throw_away_prefix_is_long_enough_to_mean_something" {
  command = plan

  variables {
    kept_tag_prefixes       = ["sha-"]
    throw_away_tag_prefixes = ["p"]
  }

  expect_failures = [var.throw_away_tag_prefixes]
}

run "nothing_is_thrown_away_unless_something_is_kept" {
  command = plan

  variables {
    throw_away_tag_prefixes = ["pr-"]
  }

  expect_failures = [var.kept_tag_prefixes]
}

run "a_throw_away_image_is_kept_for_a_day" {
  command = plan

  variables {
    expire_throw_away_days = 0
  }

  expect_failures = [var.expire_throw_away_days]
}

run "a_kept_prefix_is_no_pattern" {
  command = plan

  variables {
    kept_tag_prefixes = ["*"]
  }

  expect_failures = [var.kept_tag_prefixes]
}

run "no_tag_is_both_kept_and_thrown_away" {
  command = plan

  variables {
    kept_tag_prefixes       = ["pr-release-"]
    throw_away_tag_prefixes = ["pr-"]
  }

  expect_failures = [var.kept_tag_prefixes]
}

run "a_key_is_not_its_alias" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:222233334444:alias/images"
  }

  expect_failures = [var.kms_key_arn]
}
