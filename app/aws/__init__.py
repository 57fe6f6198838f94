"""Storage's interfaces, kept on DynamoDB and S3."""
