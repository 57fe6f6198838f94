locals {
  ami_types = {
    arm64  = "AL2023_ARM_64_STANDARD"
    x86_64 = "AL2023_x86_64_STANDARD"
  }
}

resource "aws_launch_template" "node" {
  for_each = var.node_groups

  name        = "${var.name}-${each.key}"
  description = "Nodes ${each.key} of ${var.name}"

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
    # One hop ends at the host: a pod has another network and does not reach the node's credentials.
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = each.value.disk_gib
      delete_on_termination = true
      # By AWS's key for EBS. A key of our own would have to name the scaling service's linked role
      # in its policy, which in a new account does not exist yet and is refused.
      encrypted = true
    }
  }

  # The provider's default tags end at the template; these are for what is made of it.
  dynamic "tag_specifications" {
    for_each = toset(["instance", "network-interface", "volume"])

    content {
      resource_type = tag_specifications.key
      tags          = merge(data.aws_default_tags.current.tags, { Name = "${var.name}-${each.key}" })
    }
  }

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_eks_node_group" "this" {
  for_each = var.node_groups

  cluster_name = aws_eks_cluster.this.name
  # A prefix: another architecture or type replaces the group, and the new one comes first.
  node_group_name_prefix = "${each.key}-"
  node_role_arn          = aws_iam_role.node.arn
  subnet_ids             = var.private_subnet_ids

  version         = aws_eks_cluster.this.version
  release_version = each.value.release_version
  ami_type        = local.ami_types[each.value.architecture]
  capacity_type   = each.value.capacity_type
  instance_types  = each.value.instance_types

  launch_template {
    id      = aws_launch_template.node[each.key].id
    version = aws_launch_template.node[each.key].latest_version
  }

  scaling_config {
    min_size     = each.value.min_size
    max_size     = each.value.max_size
    desired_size = each.value.desired_size
  }

  update_config {
    max_unavailable_percentage = 33
  }

  node_repair_config {
    enabled = true
  }

  # A node without its network or its rights is never ready, and the group fails after half an hour.
  depends_on = [
    aws_eks_addon.before_nodes,
    aws_iam_role_policy.node_join,
    aws_iam_role_policy_attachment.node,
  ]

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [scaling_config[0].desired_size] # the autoscaler's
  }
}
