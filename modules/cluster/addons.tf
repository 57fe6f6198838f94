locals {
  addons_before_nodes = {
    kube-proxy = {}
    vpc-cni = {
      role_arn = aws_iam_role.service_account["vpc-cni"].arn
      # Without it every NetworkPolicy is stored and none is enforced.
      configuration = jsonencode({ enableNetworkPolicy = "true" })
    }
  }

  # These are never healthy until they have a node to run on.
  addons_after_nodes = toset(["coredns", "metrics-server"])
}

resource "aws_eks_addon" "before_nodes" {
  for_each = local.addons_before_nodes

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = lookup(var.addon_versions, each.key, null)
  configuration_values        = try(each.value.configuration, null)
  service_account_role_arn    = try(each.value.role_arn, null)
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  depends_on = [aws_iam_role_policy_attachment.vpc_cni]
}

resource "aws_eks_addon" "after_nodes" {
  for_each = local.addons_after_nodes

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = lookup(var.addon_versions, each.key, null)
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  depends_on = [aws_eks_node_group.this]
}
