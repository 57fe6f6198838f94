# Each wrong value is refused before anything is made.

mock_provider "aws" {}

variables {
  name                     = "strongroom-dev"
  oidc_provider_arn        = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
  oidc_issuer              = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
  namespace                = "strongroom"
  service_account          = "api"
  table_arn                = "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev"
  index_arn                = "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev/index/due"
  bucket_arn               = "arn:aws:s3:::documents"
  key_arns                 = ["arn:aws:kms:eu-central-1:111122223333:key/central"]
  writable                 = true
  permissions_boundary_arn = "arn:aws:iam::111122223333:policy/strongroom-dev-boundary"
}

run "name_with_capitals" {
  command = plan

  variables {
    name = "Strongroom"
  }

  expect_failures = [var.name]
}

run "name_too_long_for_a_role" {
  command = plan

  variables {
    name = "a-name-of-more-than-fifty-six-characters-which-are-too-many"
  }

  expect_failures = [var.name]
}

run "provider_given_as_a_url" {
  command = plan

  variables {
    oidc_provider_arn = "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
  }

  expect_failures = [var.oidc_provider_arn]
}

run "issuer_given_as_a_url" {
  command = plan

  variables {
    oidc_issuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
  }

  expect_failures = [var.oidc_issuer]
}

run "issuer_of_another_cluster" {
  command = plan

  variables {
    oidc_issuer = "oidc.eks.eu-central-1.amazonaws.com/id/FEDCBA9876543210"
  }

  expect_failures = [var.oidc_issuer]
}

run "every_namespace" {
  command = plan

  variables {
    namespace = "*"
  }

  expect_failures = [var.namespace]
}

run "every_service_account" {
  command = plan

  variables {
    service_account = "*"
  }

  expect_failures = [var.service_account]
}

run "any_table" {
  command = plan

  variables {
    table_arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/*"
    index_arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/*/index/due"
  }

  expect_failures = [var.table_arn]
}

run "table_of_another_account" {
  command = plan

  variables {
    table_arn = "arn:aws:dynamodb:eu-central-1:444455556666:table/strongroom-dev"
    index_arn = "arn:aws:dynamodb:eu-central-1:444455556666:table/strongroom-dev/index/due"
    key_arns  = ["arn:aws:kms:eu-central-1:444455556666:key/central"]
  }

  expect_failures = [var.table_arn]
}

run "index_of_another_table" {
  command = plan

  variables {
    index_arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/other/index/due"
  }

  expect_failures = [var.index_arn]
}

run "any_index" {
  command = plan

  variables {
    index_arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/strongroom-dev/index/*"
  }

  expect_failures = [var.index_arn]
}

run "bucket_with_a_path" {
  command = plan

  variables {
    bucket_arn = "arn:aws:s3:::documents/*"
  }

  expect_failures = [var.bucket_arn]
}

run "any_bucket" {
  command = plan

  variables {
    bucket_arn = "arn:aws:s3:::*"
  }

  expect_failures = [var.bucket_arn]
}

run "no_key" {
  command = plan

  variables {
    key_arns = []
  }

  expect_failures = [var.key_arns]
}

run "alias_for_a_key" {
  command = plan

  variables {
    key_arns = ["arn:aws:kms:eu-central-1:111122223333:alias/documents"]
  }

  expect_failures = [var.key_arns]
}

run "key_of_another_region" {
  command = plan

  variables {
    key_arns = ["arn:aws:kms:eu-west-1:111122223333:key/west"]
  }

  expect_failures = [var.key_arns]
}

run "boundary_that_is_a_role" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::111122223333:role/strongroom"
  }

  expect_failures = [var.permissions_boundary_arn]
}
