output "permissions_boundary_arn" {
  description = "ARN of the policy that bounds every role in the account: what the other modules take as `permissions_boundary_arn`."
  value       = aws_iam_policy.boundary.arn
}

output "plan_role_arn" {
  description = "ARN of the role that reads configuration and writes nothing."
  value       = aws_iam_role.plan.arn
}

output "apply_role_arn" {
  description = "ARN of the role that applies what was reviewed."
  value       = aws_iam_role.apply.arn
}

output "push_role_arn" {
  description = "ARN of the role that pushes images; null where `push_repository_arns` is empty."
  value       = one(aws_iam_role.push[*].arn)
}

output "oidc_provider_arn" {
  description = "ARN of the account's GitHub OIDC provider."
  value       = aws_iam_openid_connect_provider.github.arn
}
