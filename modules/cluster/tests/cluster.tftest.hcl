# What the cluster is made of.

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

run "the_control_plane_is_closed" {
  assert {
    condition = (
      aws_eks_cluster.this.access_config[0].authentication_mode == "API" &&
      aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions == false &&
      aws_eks_cluster.this.bootstrap_self_managed_addons == false
    )
    error_message = "access must come from entries alone, and add-ons from EKS"
  }

  assert {
    condition = (
      aws_eks_cluster.this.vpc_config[0].endpoint_private_access == true &&
      aws_eks_cluster.this.vpc_config[0].endpoint_public_access == false &&
      aws_eks_cluster.this.vpc_config[0].subnet_ids == toset(var.private_subnet_ids)
    )
    error_message = "the API server must be reached from private subnets only"
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.api_https) == 0 && length(aws_security_group.api.egress) == 0
    error_message = "nobody but the nodes may reach it without being named"
  }

  assert {
    condition     = aws_eks_cluster.this.deletion_protection == true && aws_eks_cluster.this.upgrade_policy[0].support_type == "STANDARD"
    error_message = "the cluster must be protected from deletion, and be upgraded when its version ages, unless told otherwise"
  }
}

run "secrets_and_logs_are_encrypted_and_kept" {
  assert {
    condition = (
      aws_eks_cluster.this.encryption_config[0].resources == toset(["secrets"]) &&
      aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == aws_kms_key.this.arn &&
      aws_kms_key.this.enable_key_rotation
    )
    error_message = "secrets must be encrypted by a rotating key"
  }

  assert {
    condition     = aws_eks_cluster.this.enabled_cluster_log_types == toset(["api", "audit", "authenticator", "controllerManager", "scheduler"])
    error_message = "all logs of the control plane must be on"
  }

  assert {
    condition = (
      aws_cloudwatch_log_group.control_plane.name == "/aws/eks/strongroom-test/cluster" &&
      aws_cloudwatch_log_group.control_plane.retention_in_days == 90 &&
      aws_cloudwatch_log_group.control_plane.kms_key_id == aws_kms_key.this.arn
    )
    error_message = "the log group must be the one that EKS writes to, with retention and key"
  }
}

run "arm_is_one_value" {
  assert {
    condition     = aws_eks_node_group.this["main"].ami_type == "AL2023_ARM_64_STANDARD"
    error_message = "arm64 must choose the ARM image"
  }

  assert {
    condition = (
      aws_eks_node_group.this["main"].capacity_type == "SPOT" &&
      aws_eks_node_group.this["main"].version == "1.34" &&
      aws_eks_node_group.this["main"].scaling_config[0].min_size == 1 &&
      aws_eks_node_group.this["main"].scaling_config[0].max_size == 4
    )
    error_message = "the group must be as it was asked for"
  }
}

run "x86_is_the_other" {
  variables {
    node_groups = {
      main = { architecture = "x86_64", instance_types = ["m7i.large", "m7i-flex.large"], min_size = 2, max_size = 2, desired_size = 2 }
      gpu  = { architecture = "x86_64", instance_types = ["g5.xlarge", "g4dn.xlarge"], min_size = 0, max_size = 2, desired_size = 0 }
      arm  = { architecture = "arm64", instance_types = ["c7gn.large", "x2gd.large", "im4gn.large", "t4g.medium", "i8ge.large", "g5g.xlarge"], min_size = 0, max_size = 2, desired_size = 0 }
    }
  }

  assert {
    condition = (
      aws_eks_node_group.this["main"].ami_type == "AL2023_x86_64_STANDARD" &&
      aws_eks_node_group.this["gpu"].ami_type == "AL2023_x86_64_STANDARD" &&
      aws_eks_node_group.this["arm"].ami_type == "AL2023_ARM_64_STANDARD"
    )
    error_message = "each group must have the image of its architecture"
  }

  assert {
    condition     = aws_eks_node_group.this["main"].capacity_type == "ON_DEMAND"
    error_message = "spot capacity must be asked for"
  }
}

run "pods_do_not_reach_the_nodes_credentials" {
  assert {
    condition = (
      aws_launch_template.node["main"].metadata_options[0].http_tokens == "required" &&
      aws_launch_template.node["main"].metadata_options[0].http_put_response_hop_limit == 1
    )
    error_message = "instance metadata must take tokens only, and end at the host"
  }

  assert {
    condition = (
      aws_eks_node_group.this["main"].launch_template[0].id == aws_launch_template.node["main"].id &&
      aws_eks_node_group.this["main"].launch_template[0].version == "7"
    )
    error_message = "the group must use its launch template's latest version"
  }
}

run "disks_are_encrypted_and_tagged" {
  assert {
    condition = (
      aws_launch_template.node["main"].block_device_mappings[0].device_name == "/dev/xvda" &&
      aws_launch_template.node["main"].block_device_mappings[0].ebs[0].encrypted == "true" &&
      aws_launch_template.node["main"].block_device_mappings[0].ebs[0].volume_type == "gp3" &&
      aws_launch_template.node["main"].block_device_mappings[0].ebs[0].volume_size == 40
    )
    error_message = "the root disk must be an encrypted gp3 of the size asked for"
  }

  assert {
    condition = {
      for specification in aws_launch_template.node["main"].tag_specifications : specification.resource_type => specification.tags["Project"]
    } == { instance = "strongroom", network-interface = "strongroom", volume = "strongroom" }
    error_message = "the provider's default tags must reach what the template makes"
  }
}

run "network_policies_are_enforced_from_the_first_node" {
  assert {
    condition     = toset(keys(aws_eks_addon.before_nodes)) == toset(["kube-proxy", "vpc-cni"])
    error_message = "vpc-cni and kube-proxy must come before the nodes"
  }

  assert {
    condition     = jsondecode(aws_eks_addon.before_nodes["vpc-cni"].configuration_values) == { enableNetworkPolicy = "true" }
    error_message = "vpc-cni must enforce NetworkPolicy"
  }

  assert {
    condition     = toset(keys(aws_eks_addon.after_nodes)) == toset(["coredns", "metrics-server"])
    error_message = "coredns and metrics-server must come after the nodes"
  }
}

run "addons_can_be_pinned" {
  variables {
    addon_versions = { vpc-cni = "v1.20.4-eksbuild.2", coredns = "v1.12.4-eksbuild.1" }
  }

  assert {
    condition = (
      aws_eks_addon.before_nodes["vpc-cni"].addon_version == "v1.20.4-eksbuild.2" &&
      aws_eks_addon.after_nodes["coredns"].addon_version == "v1.12.4-eksbuild.1"
    )
    error_message = "named versions must be installed"
  }
}

run "access_is_by_entries" {
  variables {
    access = {
      platform  = { principal_arn = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-central-1/Platform", policy = "cluster-admin" }
      developer = { principal_arn = "arn:aws:iam::111122223333:role/developer", policy = "edit", namespaces = ["strongroom"] }
      auditor   = { principal_arn = "arn:aws:iam::111122223333:user/auditor", policy = "view" }
    }
  }

  assert {
    condition     = { for name, entry in aws_eks_access_entry.this : name => entry.principal_arn } == { for name, entry in var.access : name => entry.principal_arn }
    error_message = "each must have its entry"
  }

  assert {
    condition = { for name, association in aws_eks_access_policy_association.this : name => association.policy_arn } == {
      platform  = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
      developer = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy"
      auditor   = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
    }
    error_message = "each must have its policy"
  }

  assert {
    condition = (
      aws_eks_access_policy_association.this["developer"].access_scope[0].type == "namespace" &&
      aws_eks_access_policy_association.this["developer"].access_scope[0].namespaces == toset(["strongroom"]) &&
      aws_eks_access_policy_association.this["auditor"].access_scope[0].type == "cluster"
    )
    error_message = "namespaces must confine it"
  }
}

run "the_api_server_can_be_opened_to_named_addresses" {
  variables {
    endpoint_public_access = true
    public_access_cidrs    = ["203.0.113.0/24"]
    private_access_cidrs   = ["10.20.0.0/16"]
  }

  assert {
    condition = (
      aws_eks_cluster.this.vpc_config[0].endpoint_public_access == true &&
      aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    )
    error_message = "from the internet: those addresses only"
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.api_https["10.20.0.0/16"].cidr_ipv4 == "10.20.0.0/16" &&
      aws_vpc_security_group_ingress_rule.api_https["10.20.0.0/16"].to_port == 443
    )
    error_message = "from inside: those addresses, by HTTPS"
  }
}

run "every_role_is_bounded_and_trusts_one" {
  assert {
    condition = alltrue([
      for role in concat([aws_iam_role.cluster, aws_iam_role.node], values(aws_iam_role.service_account)) :
      role.permissions_boundary == var.permissions_boundary_arn
    ])
    error_message = "every role must have the boundary"
  }

  assert {
    condition = jsondecode(aws_iam_role.cluster.assume_role_policy).Statement[0].Condition == {
      StringEquals = { "aws:SourceAccount" = "111122223333" }
      ArnEquals    = { "aws:SourceArn" = "arn:aws:eks:eu-central-1:111122223333:cluster/strongroom-test" }
    }
    error_message = "only this cluster may assume the control plane's role"
  }

  assert {
    condition = {
      for name, role in aws_iam_role.service_account : name => jsondecode(role.assume_role_policy).Statement[0].Condition
      } == {
      vpc-cni = { StringEquals = {
        "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF:aud" = "sts.amazonaws.com"
        "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF:sub" = "system:serviceaccount:kube-system:aws-node"
      } }
      cluster-autoscaler = { StringEquals = {
        "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF:aud" = "sts.amazonaws.com"
        "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF:sub" = "system:serviceaccount:kube-system:cluster-autoscaler"
      } }
    }
    error_message = "only the one service account may assume its role"
  }

  assert {
    condition     = aws_iam_openid_connect_provider.this.client_id_list == toset(["sts.amazonaws.com"]) && output.oidc_issuer == "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
    error_message = "the OIDC provider must know the audience sts.amazonaws.com, and its issuer be given without https://"
  }
}

run "nodes_may_join_and_pull_and_no_more" {
  assert {
    condition = toset([for attachment in aws_iam_role_policy_attachment.node : attachment.policy_arn]) == toset([
      "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
      "arn:aws:iam::aws:policy/AmazonEKSWorkerNodeMinimalPolicy",
    ])
    error_message = "nodes must have the minimal policies only; the network's belongs to vpc-cni"
  }

  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.node_join.policy).Statement : statement.Action])) == toset([
      "ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "eks:DescribeCluster"
    ])
    error_message = "nodes must be able to look themselves up, else they never join"
  }

  assert {
    condition = (
      aws_iam_role_policy_attachment.vpc_cni.policy_arn == "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy" &&
      aws_eks_addon.before_nodes["vpc-cni"].service_account_role_arn == aws_iam_role.service_account["vpc-cni"].arn
    )
    error_message = "vpc-cni must have its own role"
  }
}

run "the_autoscaler_scales_this_cluster_only" {
  assert {
    condition = (
      one([
        for statement in jsondecode(aws_iam_role_policy.cluster_autoscaler.policy).Statement : statement.Condition
        if contains(statement.Action, "autoscaling:SetDesiredCapacity")
      ]) == { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/strongroom-test" = "owned" } }
    )
    error_message = "scaling must be confined to the cluster's own groups"
  }
}
