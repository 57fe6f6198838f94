# The push role pushes to the named repositories, and that is all: it cannot delete an image, move a
# tag (they are immutable) nor change a repository.

locals {
  push = {
    Version = "2012-10-17"
    Statement = [
      {
        # A login is one for all registries of the account: AWS knows no resource for it.
        Sid      = "LogIn"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        # BatchGetImage is how a client asks whether a manifest is there already.
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
        Sid    = "Push"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:CompleteLayerUpload",
          "ecr:InitiateLayerUpload",
          "ecr:PutImage",
          "ecr:UploadLayerPart",
        ]
        Resource = var.push_repository_arns
      },
    ]
  }
}

resource "aws_iam_role" "push" {
  #checkov:skip=CKV_AWS_393:it knows owner/repository alone, and takes the ids of immutable subjects for another claim
  count = length(var.push_repository_arns) > 0 ? 1 : 0

  name                 = "${var.name}-ci-push"
  description          = "Pushes images, for jobs of the push environment"
  assume_role_policy   = local.trust["push"]
  permissions_boundary = aws_iam_policy.boundary.arn
}

resource "aws_iam_role_policy" "push" {
  count = length(aws_iam_role.push)

  name   = "push"
  role   = aws_iam_role.push[0].name
  policy = jsonencode(local.push)
}
