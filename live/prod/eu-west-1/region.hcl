locals {
  name               = "eu-west-1"
  role               = "replica"
  cidr               = "10.31.0.0/16"
  availability_zones = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
}
