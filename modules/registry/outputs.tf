output "repository_urls" {
  description = "Where each repository is pushed to and pulled from, by its name."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "repository_arns" {
  description = "ARN of each repository, by its name: what ci-identity's `push_repository_arns` takes."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.arn }
}
