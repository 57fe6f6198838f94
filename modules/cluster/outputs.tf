output "cluster_name" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "cluster_arn" {
  description = "ARN of the cluster."
  value       = aws_eks_cluster.this.arn
}

output "endpoint" {
  description = "URL of the API server."
  value       = aws_eks_cluster.this.endpoint
}

output "certificate_authority" {
  description = "Certificate of the API server's authority, in base64."
  value       = aws_eks_cluster.this.certificate_authority[0].data
}

output "oidc_provider_arn" {
  description = "ARN of the IAM provider that knows the cluster's service accounts."
  value       = aws_iam_openid_connect_provider.this.arn
}

output "oidc_issuer" {
  description = "Issuer of the service accounts' tokens, without https://, as in the conditions of trust policies."
  value       = local.oidc_issuer
}

output "node_role_arn" {
  description = "ARN of the nodes' role."
  value       = aws_iam_role.node.arn
}

output "cluster_autoscaler_role_arn" {
  description = "ARN of the role for the service account kube-system/cluster-autoscaler."
  value       = aws_iam_role.service_account["cluster-autoscaler"].arn
}

output "cluster_security_group_id" {
  description = "Id of the security group that EKS made for the control plane and the nodes."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "key_arn" {
  description = "ARN of the key of Kubernetes's secrets and the control plane's logs."
  value       = aws_kms_key.this.arn
}
