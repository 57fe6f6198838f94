# Values that would fail late, or work and be wrong, are refused before anything is planned.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                     = "strongroom-test"
  kubernetes_version       = "1.34"
  vpc_id                   = "vpc-0123456789abcdef0"
  private_subnet_ids       = ["subnet-0a", "subnet-0b", "subnet-0c"]
  log_retention_days       = 90
  permissions_boundary_arn = "arn:aws:iam::111122223333:policy/boundary"

  node_groups = {
    main = {
      architecture   = "arm64"
      instance_types = ["m7g.large", "m6g.large"]
      capacity_type  = "SPOT"
      min_size       = 1
      max_size       = 4
      desired_size   = 2
      disk_gib       = 40
    }
  }

  access = {
    platform = { principal_arn = "arn:aws:iam::111122223333:role/platform", policy = "cluster-admin" }
  }
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

run "version_with_a_patch" {
  command = plan

  variables {
    kubernetes_version = "1.34.2"
  }

  expect_failures = [var.kubernetes_version]
}

run "version_with_v" {
  command = plan

  variables {
    kubernetes_version = "v1.34"
  }

  expect_failures = [var.kubernetes_version]
}

run "support_unknown" {
  command = plan

  variables {
    support_type = "NONE"
  }

  expect_failures = [var.support_type]
}

run "vpc_that_is_none" {
  command = plan

  variables {
    vpc_id = "subnet-0a"
  }

  expect_failures = [var.vpc_id]
}

run "one_subnet" {
  command = plan

  variables {
    private_subnet_ids = ["subnet-0a"]
  }

  expect_failures = [var.private_subnet_ids]
}

run "a_subnet_twice" {
  command = plan

  variables {
    private_subnet_ids = ["subnet-0a", "subnet-0a"]
  }

  expect_failures = [var.private_subnet_ids]
}

run "subnets_that_are_none" {
  command = plan

  variables {
    private_subnet_ids = ["10.0.0.0/19", "10.0.32.0/19"]
  }

  expect_failures = [var.private_subnet_ids]
}

run "service_cidr_that_is_public" {
  command = plan

  variables {
    service_cidr = "100.64.0.0/16"
  }

  expect_failures = [var.service_cidr]
}

run "service_cidr_too_small" {
  command = plan

  variables {
    service_cidr = "172.20.0.0/25"
  }

  expect_failures = [var.service_cidr]
}

run "service_cidr_with_host_bits" {
  command = plan

  variables {
    service_cidr = "172.20.1.0/16"
  }

  expect_failures = [var.service_cidr]
}

run "no_group" {
  command = plan

  variables {
    node_groups = {}
  }

  expect_failures = [var.node_groups]
}

run "group_with_a_long_name" {
  command = plan

  variables {
    node_groups = {
      a-group-whose-name-is-far-too-long = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "architecture_unknown" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "amd64", instance_types = ["m7g.large"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "no_instance_type" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = [], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "an_instance_type_twice" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large", "m7g.large"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "an_instance_type_that_is_none" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["large"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "x86_types_for_arm" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large", "m7i.large"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "arm_types_for_x86" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "x86_64", instance_types = ["m7g.large"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "a_gpu_type_is_no_arm_type" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["g5.xlarge"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "an_arm_gpu_type_is_no_x86_type" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "x86_64", instance_types = ["g5g.xlarge"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "the_first_graviton" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "x86_64", instance_types = ["a1.large"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "a_type_too_small" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["t4g.micro"], min_size = 1, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "capacity_unknown" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 1, max_size = 2, desired_size = 1, capacity_type = "spot" }
    }
  }

  expect_failures = [var.node_groups]
}

run "sizes_in_disorder" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 3, max_size = 2, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "desired_beyond_max" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 1, max_size = 2, desired_size = 3 }
    }
  }

  expect_failures = [var.node_groups]
}

run "half_a_node" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 1, max_size = 2.5, desired_size = 1 }
    }
  }

  expect_failures = [var.node_groups]
}

run "no_node_to_begin_with" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 0, max_size = 2, desired_size = 0 }
    }
  }

  expect_failures = [var.node_groups]
}

run "disk_smaller_than_the_image" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 1, max_size = 2, desired_size = 1, disk_gib = 10 }
    }
  }

  expect_failures = [var.node_groups]
}

run "release_that_is_none" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 1, max_size = 2, desired_size = 1, release_version = "latest" }
    }
  }

  expect_failures = [var.node_groups]
}

run "nobody" {
  command = plan

  variables {
    access = {}
  }

  expect_failures = [var.access]
}

run "no_administrator" {
  command = plan

  variables {
    access = {
      auditor = { principal_arn = "arn:aws:iam::111122223333:role/auditor", policy = "view" }
    }
  }

  expect_failures = [var.access]
}

run "a_session" {
  command = plan

  variables {
    access = {
      platform = { principal_arn = "arn:aws:sts::111122223333:assumed-role/platform/me", policy = "cluster-admin" }
    }
  }

  expect_failures = [var.access]
}

run "the_whole_account" {
  command = plan

  variables {
    access = {
      platform = { principal_arn = "arn:aws:iam::111122223333:root", policy = "cluster-admin" }
    }
  }

  expect_failures = [var.access]
}

run "a_pattern" {
  command = plan

  variables {
    access = {
      platform = { principal_arn = "arn:aws:iam::111122223333:role/*", policy = "cluster-admin" }
    }
  }

  expect_failures = [var.access]
}

run "a_principal_twice" {
  command = plan

  variables {
    access = {
      platform = { principal_arn = "arn:aws:iam::111122223333:role/platform", policy = "cluster-admin" }
      again    = { principal_arn = "arn:aws:iam::111122223333:role/platform", policy = "view" }
    }
  }

  expect_failures = [var.access]
}

run "policy_unknown" {
  command = plan

  variables {
    access = {
      platform = { principal_arn = "arn:aws:iam::111122223333:role/platform", policy = "cluster-admin" }
      other    = { principal_arn = "arn:aws:iam::111122223333:role/other", policy = "root" }
    }
  }

  expect_failures = [var.access]
}

run "cluster_admin_of_a_namespace" {
  command = plan

  variables {
    access = {
      platform = { principal_arn = "arn:aws:iam::111122223333:role/platform", policy = "cluster-admin" }
      other    = { principal_arn = "arn:aws:iam::111122223333:role/other", policy = "cluster-admin", namespaces = ["a"] }
    }
  }

  expect_failures = [var.access]
}

run "no_namespace" {
  command = plan

  variables {
    access = {
      platform = { principal_arn = "arn:aws:iam::111122223333:role/platform", policy = "cluster-admin" }
      other    = { principal_arn = "arn:aws:iam::111122223333:role/other", policy = "view", namespaces = [] }
    }
  }

  expect_failures = [var.access]
}

run "retention_for_ever" {
  command = plan

  variables {
    log_retention_days = 0
  }

  expect_failures = [var.log_retention_days]
}

run "retention_that_cloudwatch_does_not_know" {
  command = plan

  variables {
    log_retention_days = 100
  }

  expect_failures = [var.log_retention_days]
}

run "private_access_for_all" {
  command = plan

  variables {
    private_access_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.private_access_cidrs]
}

run "private_access_that_is_none" {
  command = plan

  variables {
    private_access_cidrs = ["vpn"]
  }

  expect_failures = [var.private_access_cidrs]
}

run "addon_unknown" {
  command = plan

  variables {
    addon_versions = { aws-ebs-csi-driver = "v1.0.0-eksbuild.1" }
  }

  expect_failures = [var.addon_versions]
}

run "kube_proxy_of_another_version" {
  command = plan

  variables {
    addon_versions = { kube-proxy = "v1.33.8-eksbuild.2" }
  }

  expect_failures = [var.addon_versions]
}

run "nodes_of_another_version" {
  command = plan

  variables {
    node_groups = {
      main = { architecture = "arm64", instance_types = ["m7g.large"], min_size = 1, max_size = 2, desired_size = 1, release_version = "1.33.5-20260107" }
    }
  }

  expect_failures = [var.node_groups]
}

run "addon_version_that_is_none" {
  command = plan

  variables {
    addon_versions = { vpc-cni = "latest" }
  }

  expect_failures = [var.addon_versions]
}

run "boundary_that_is_a_role" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::111122223333:role/boundary"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "public_without_addresses" {
  command = plan

  variables {
    endpoint_public_access = true
    public_access_cidrs    = []
  }

  expect_failures = [var.public_access_cidrs]
}

run "public_for_all" {
  command = plan

  variables {
    endpoint_public_access = true
    public_access_cidrs    = ["0.0.0.0/0"]
  }

  expect_failures = [var.public_access_cidrs]
}

run "public_for_both_halves_of_all" {
  command = plan

  variables {
    endpoint_public_access = true
    public_access_cidrs    = ["0.0.0.0/1", "128.0.0.0/1"]
  }

  expect_failures = [var.public_access_cidrs]
}

run "public_for_private_addresses" {
  command = plan

  variables {
    endpoint_public_access = true
    public_access_cidrs    = ["10.20.0.0/16"]
  }

  expect_failures = [var.public_access_cidrs]
}

run "public_for_what_is_no_address" {
  command = plan

  variables {
    endpoint_public_access = true
    public_access_cidrs    = ["office"]
  }

  expect_failures = [var.public_access_cidrs]
}

run "addresses_without_public_access" {
  command = plan

  variables {
    endpoint_public_access = false
    public_access_cidrs    = ["203.0.113.0/24"]
  }

  expect_failures = [var.public_access_cidrs]
}
