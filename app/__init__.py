"""Strongroom: a document store API over DynamoDB and S3."""
