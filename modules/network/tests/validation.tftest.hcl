# Values that would fail late, or work and be wrong, are refused before anything is planned.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                     = "strongroom-test"
  cidr                     = "10.20.0.0/16"
  availability_zones       = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  nat                      = "single"
  flow_log_retention_days  = 30
  permissions_boundary_arn = "arn:aws:iam::111122223333:policy/boundary"
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
    name = "strongroom-with-a-name-that-is-much-too-long"
  }

  expect_failures = [var.name]
}

run "cidr_that_is_none" {
  command = plan

  variables {
    cidr = "ten dot twenty"
  }

  expect_failures = [var.cidr]
}

run "cidr_of_ipv6" {
  command = plan

  variables {
    cidr = "fd00::/56"
  }

  expect_failures = [var.cidr]
}

run "cidr_with_host_bits" {
  command = plan

  variables {
    cidr = "10.20.1.0/16"
  }

  expect_failures = [var.cidr]
}

run "cidr_too_large" {
  command = plan

  variables {
    cidr = "10.0.0.0/15"
  }

  expect_failures = [var.cidr]
}

run "cidr_too_small" {
  command = plan

  variables {
    cidr = "10.20.0.0/21"
  }

  expect_failures = [var.cidr]
}

run "cidr_that_is_public" {
  command = plan

  variables {
    cidr = "8.8.0.0/16"
  }

  expect_failures = [var.cidr]
}

run "cidr_beyond_the_private_172s" {
  command = plan

  variables {
    cidr = "172.32.0.0/16"
  }

  expect_failures = [var.cidr]
}

run "cidr_of_docker" {
  command = plan

  variables {
    cidr = "172.17.0.0/16"
  }

  expect_failures = [var.cidr]
}

run "two_zones" {
  command = plan

  variables {
    availability_zones = ["eu-central-1a", "eu-central-1b"]
  }

  expect_failures = [var.availability_zones]
}

run "a_zone_twice" {
  command = plan

  variables {
    availability_zones = ["eu-central-1a", "eu-central-1b", "eu-central-1b"]
  }

  expect_failures = [var.availability_zones]
}

run "zone_ids" {
  command = plan

  variables {
    availability_zones = ["euc1-az1", "euc1-az2", "euc1-az3"]
  }

  expect_failures = [var.availability_zones]
}

run "zones_of_two_regions" {
  command = plan

  variables {
    availability_zones = ["eu-central-1a", "eu-central-1b", "eu-west-1a"]
  }

  expect_failures = [var.availability_zones]
}

run "nat_unknown" {
  command = plan

  variables {
    nat = "none"
  }

  expect_failures = [var.nat]
}

run "retention_for_ever" {
  command = plan

  variables {
    flow_log_retention_days = 0
  }

  expect_failures = [var.flow_log_retention_days]
}

run "retention_that_cloudwatch_does_not_know" {
  command = plan

  variables {
    flow_log_retention_days = 31
  }

  expect_failures = [var.flow_log_retention_days]
}

run "endpoint_that_hides_the_issuer" {
  command = plan

  variables {
    interface_endpoints = ["ec2", "eks"]
  }

  expect_failures = [var.interface_endpoints]
}

run "endpoint_that_nothing_asks" {
  command = plan

  variables {
    interface_endpoints = ["eks-auth"]
  }

  expect_failures = [var.interface_endpoints]
}

run "endpoint_by_its_long_name" {
  command = plan

  variables {
    interface_endpoints = ["com.amazonaws.eu-central-1.sts"]
  }

  expect_failures = [var.interface_endpoints]
}

run "endpoint_that_is_a_gateway" {
  command = plan

  variables {
    interface_endpoints = ["s3", "sts"]
  }

  expect_failures = [var.interface_endpoints]
}

run "boundary_that_is_a_role" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::111122223333:role/boundary"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "boundary_of_aws" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::aws:policy/AdministratorAccess"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "zones_of_another_region" {
  command = plan

  variables {
    availability_zones = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
  }

  expect_failures = [aws_vpc.this]
}
