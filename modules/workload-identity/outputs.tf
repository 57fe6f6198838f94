output "role_arn" {
  description = "What the service account is annotated with: eks.amazonaws.com/role-arn."
  value       = aws_iam_role.this.arn

  # Whoever assumes the role right away must find its permissions.
  depends_on = [aws_iam_role_policy.this]
}

output "role_name" {
  description = "The role's name."
  value       = aws_iam_role.this.name
}

output "policy" {
  description = "What the role may do, as JSON."
  value       = aws_iam_role_policy.this.policy
}

output "writable" {
  description = "Whether the role may write: false behind the fence."
  value       = var.writable
}
