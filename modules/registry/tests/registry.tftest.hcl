mock_provider "aws" {
  override_data {
    target = data.aws_caller_identity.this
    values = { account_id = "222233334444" }
  }

  override_data {
    target = data.aws_partition.this
    values = { partition = "aws" }
  }

  override_data {
    target = data.aws_region.this
    values = { region = "eu-central-1" }
  }
}

variables {
  repositories = ["strongroom", "strongroom/load"]
}

run "repositories_are_immutable_scanned_and_encrypted" {
  command = plan

  assert {
    condition = alltrue([
      for name in var.repositories :
      aws_ecr_repository.this[name].image_tag_mutability == "IMMUTABLE" &&
      aws_ecr_repository.this[name].image_scanning_configuration[0].scan_on_push &&
      aws_ecr_repository.this[name].encryption_configuration[0].encryption_type == "KMS" &&
      !aws_ecr_repository.this[name].force_delete
    ])
    error_message = "A repository is mutable, unscanned, unencrypted, or deleted with what is in it."
  }
}

run "nothing_that_has_a_tag_expires" {
  command = plan

  assert {
    condition = alltrue([
      for policy in values(aws_ecr_lifecycle_policy.this) :
      jsondecode(policy.policy).rules == [{
        rulePriority = 1
        description  = "Expire what has no tag"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 30 }
        action       = { type = "expire" }
      }]
    ])
    error_message = "More expires than what has no tag."
  }
}

run "what_is_released_is_kept_before_what_is_thrown_away" {
  command = plan

  variables {
    kept_tag_prefixes       = ["sha-", "v"]
    throw_away_tag_prefixes = ["pr-", "cache-"]
    expire_throw_away_days  = 3
  }

  assert {
    condition = [
      for rule in jsondecode(aws_ecr_lifecycle_policy.this["strongroom"].policy).rules :
      [rule.rulePriority, try(rule.selection.tagPrefixList[0], null), rule.selection.countType, rule.selection.countNumber]
      ] == [
      [1, "sha-", "imageCountMoreThan", 100000],
      [2, "v", "imageCountMoreThan", 100000],
      [3, "pr-", "sinceImagePushed", 3],
      [4, "cache-", "sinceImagePushed", 3],
      [5, null, "sinceImagePushed", 30],
    ]
    error_message = "The rules are not in the order in which they keep what is released."
  }
}

run "alone_it_neither_sends_nor_takes" {
  command = plan

  assert {
    condition = (
      length(aws_ecr_replication_configuration.this) == 0 &&
      length(aws_ecr_registry_policy.this) == 0 &&
      length(aws_ecr_repository_policy.this) == 0
    )
    error_message = "A registry that nothing was said of sends or takes images."
  }
}

run "it_sends_to_each_destination" {
  command = plan

  variables {
    replication_destinations = [
      { account_id = "222233334444", region = "eu-west-1" },
      { account_id = "333344445555", region = "eu-central-1" },
    ]
  }

  assert {
    condition = [
      for destination in aws_ecr_replication_configuration.this[0].replication_configuration[0].rule[0].destination :
      "${destination.registry_id} ${destination.region}"
    ] == ["222233334444 eu-west-1", "333344445555 eu-central-1"]
    error_message = "Not sent to the destinations."
  }

  assert {
    condition = toset([
      for filter in aws_ecr_replication_configuration.this[0].replication_configuration[0].rule[0].repository_filter :
      "${filter.filter_type} ${filter.filter}"
    ]) == toset(["PREFIX_MATCH strongroom", "PREFIX_MATCH strongroom/load"])
    error_message = "Sends more than the repositories."
  }
}

run "it_takes_from_the_sources_into_these_repositories_alone" {
  command = plan

  variables {
    replication_source_account_ids = ["111122223333"]
  }

  assert {
    condition = jsondecode(aws_ecr_registry_policy.this[0].policy).Statement == [{
      Sid       = "Replicate111122223333"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::111122223333:root" }
      Action    = "ecr:ReplicateImage"
      Resource = [
        "arn:aws:ecr:eu-central-1:222233334444:repository/strongroom",
        "arn:aws:ecr:eu-central-1:222233334444:repository/strongroom/load",
      ]
    }]
    error_message = "Another account may do more than replicate into these repositories."
  }
}

run "others_pull_and_do_nothing_else" {
  command = plan

  variables {
    pull_principal_arns = ["arn:aws:iam::333344445555:role/strongroom-prod-node"]
  }

  assert {
    condition = alltrue([
      for policy in values(aws_ecr_repository_policy.this) : jsondecode(policy.policy).Statement == [{
        Sid       = "Pull"
        Effect    = "Allow"
        Principal = { AWS = ["arn:aws:iam::333344445555:role/strongroom-prod-node"] }
        Action    = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      }]
    ]) && length(aws_ecr_repository_policy.this) == 2
    error_message = "Another account may do more than pull, or not pull."
  }
}

run "a_disposable_one_goes_with_its_images" {
  command = plan

  variables {
    force_delete = true
  }

  assert {
    condition     = aws_ecr_repository.this["strongroom"].force_delete
    error_message = "force_delete does not reach the repository."
  }
}
