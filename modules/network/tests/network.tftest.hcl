# What the network is made of.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                     = "strongroom-test"
  cidr                     = "10.20.0.0/16"
  availability_zones       = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  nat                      = "per_az"
  flow_log_retention_days  = 30
  permissions_boundary_arn = "arn:aws:iam::111122223333:policy/boundary"
}

run "subnets_are_computed_from_the_cidr" {
  assert {
    condition = [for zone in var.availability_zones : aws_subnet.private[zone].cidr_block] == [
      "10.20.0.0/19", "10.20.32.0/19", "10.20.64.0/19"
    ]
    error_message = "private subnets must be the first three eighths"
  }

  assert {
    condition = [for zone in var.availability_zones : aws_subnet.public[zone].cidr_block] == [
      "10.20.96.0/21", "10.20.104.0/21", "10.20.112.0/21"
    ]
    error_message = "public subnets must be quarters of the fourth eighth"
  }

  assert {
    condition = alltrue([
      for zone in var.availability_zones :
      aws_subnet.private[zone].availability_zone == zone && aws_subnet.public[zone].availability_zone == zone
    ])
    error_message = "each subnet must lie in its zone"
  }

  assert {
    condition = (
      output.private_subnet_ids == [for zone in var.availability_zones : aws_subnet.private[zone].id] &&
      output.public_subnet_ids == [for zone in var.availability_zones : aws_subnet.public[zone].id] &&
      output.private_route_table_ids == [for zone in var.availability_zones : aws_route_table.private[zone].id]
    )
    error_message = "outputs must follow the order of availability_zones"
  }
}

run "the_smallest_vpc_still_divides" {
  variables {
    cidr = "192.168.16.0/20"
  }

  assert {
    condition = (
      aws_subnet.private["eu-central-1c"].cidr_block == "192.168.20.0/23" &&
      aws_subnet.public["eu-central-1c"].cidr_block == "192.168.23.0/25"
    )
    error_message = "a /20 must give /23 private and /25 public subnets"
  }
}

run "nothing_gets_a_public_address_by_itself" {
  assert {
    condition = alltrue([
      for subnet in concat(values(aws_subnet.public), values(aws_subnet.private)) : !subnet.map_public_ip_on_launch
    ])
    error_message = "no subnet may give out public addresses"
  }

  assert {
    condition     = alltrue([for route in aws_route.private_nat : route.gateway_id == null])
    error_message = "private subnets must have no way to the internet gateway"
  }

  assert {
    condition     = length(aws_default_security_group.this.ingress) == 0 && length(aws_default_security_group.this.egress) == 0
    error_message = "the default security group must allow nothing"
  }
}

run "load_balancers_find_their_subnets" {
  assert {
    condition = alltrue([
      for subnet in aws_subnet.public :
      subnet.tags["kubernetes.io/role/elb"] == "1" && !contains(keys(subnet.tags), "kubernetes.io/role/internal-elb")
    ])
    error_message = "public subnets must carry the tag for load balancers on the internet, and that alone"
  }

  assert {
    condition = alltrue([
      for subnet in aws_subnet.private :
      subnet.tags["kubernetes.io/role/internal-elb"] == "1" && !contains(keys(subnet.tags), "kubernetes.io/role/elb")
    ])
    error_message = "private subnets must carry the tag for internal load balancers, and that alone"
  }
}

run "a_zone_s_traffic_leaves_by_its_own_gateway" {
  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(output.nat_public_ips) == 3
    error_message = "per_az must make three gateways"
  }

  assert {
    condition = alltrue([
      for zone in var.availability_zones :
      aws_route.private_nat[zone].nat_gateway_id == aws_nat_gateway.this[zone].id &&
      aws_nat_gateway.this[zone].subnet_id == aws_subnet.public[zone].id &&
      aws_route_table_association.private[zone].route_table_id == aws_route_table.private[zone].id
    ])
    error_message = "each zone must be routed to the gateway in its own public subnet"
  }
}

run "a_single_gateway_serves_all_zones" {
  variables {
    nat = "single"
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-central-1a"] && length(aws_eip.nat) == 1
    error_message = "single must make one gateway, in the first zone"
  }

  assert {
    condition = alltrue([
      for route in aws_route.private_nat : route.nat_gateway_id == aws_nat_gateway.this["eu-central-1a"].id
    ])
    error_message = "every zone must be routed to the one gateway"
  }

  assert {
    condition     = length(aws_route_table.private) == 3
    error_message = "route tables must stay one per zone, so that moving to per_az changes routes alone"
  }
}

run "aws_is_reached_by_endpoints" {
  assert {
    condition = (
      { for name, endpoint in aws_vpc_endpoint.gateway : name => endpoint.service_name } == {
        dynamodb = "com.amazonaws.eu-central-1.dynamodb"
        s3       = "com.amazonaws.eu-central-1.s3"
      } &&
      alltrue([for endpoint in aws_vpc_endpoint.gateway : toset(endpoint.route_table_ids) == toset(output.private_route_table_ids)])
    )
    error_message = "S3 and DynamoDB must have gateway endpoints in every private route table"
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.interface)) == toset(["ec2", "ecr.api", "ecr.dkr", "logs", "sts"])
    error_message = "the default must be what the nodes of a private cluster call"
  }

  assert {
    condition = alltrue([
      for endpoint in aws_vpc_endpoint.interface :
      endpoint.private_dns_enabled && length(endpoint.subnet_ids) == 3 && endpoint.security_group_ids == toset([aws_security_group.endpoint[0].id])
    ])
    error_message = "interface endpoints must be in every zone, under the services' own names, behind their own security group"
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.endpoint_https[0].cidr_ipv4 == var.cidr &&
      aws_vpc_security_group_ingress_rule.endpoint_https[0].from_port == 443 &&
      aws_vpc_security_group_ingress_rule.endpoint_https[0].to_port == 443 &&
      aws_vpc_security_group_ingress_rule.endpoint_https[0].ip_protocol == "tcp"
    )
    error_message = "endpoints must take HTTPS from the VPC and nothing else"
  }

  assert {
    condition     = length(aws_security_group.endpoint[0].egress) == 0
    error_message = "endpoints must not call anybody"
  }
}

run "interface_endpoints_can_be_done_without" {
  variables {
    interface_endpoints = []
  }

  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0 && length(aws_security_group.endpoint) == 0 && length(aws_vpc_endpoint.gateway) == 2
    error_message = "without interface endpoints only the gateway endpoints must be left"
  }
}

run "flow_logs_are_kept_encrypted" {
  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && aws_flow_log.this.log_destination == aws_cloudwatch_log_group.flow_log.arn
    error_message = "all traffic must be logged"
  }

  assert {
    condition     = aws_cloudwatch_log_group.flow_log.retention_in_days == 30 && aws_cloudwatch_log_group.flow_log.kms_key_id == aws_kms_key.flow_log.arn
    error_message = "the log group must have its retention and its key"
  }

  assert {
    condition     = aws_kms_key.flow_log.enable_key_rotation
    error_message = "the key must rotate"
  }

  assert {
    condition = (
      one([for statement in jsondecode(aws_kms_key.flow_log.policy).Statement : statement if statement.Sid == "LogGroup"]).Condition.ArnEquals["kms:EncryptionContext:aws:logs:arn"]
      == "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/vpc/strongroom-test/flow-log"
    )
    error_message = "CloudWatch Logs may use the key for this log group alone"
  }
}

run "the_flow_log_role_is_bounded_and_closed" {
  assert {
    condition     = aws_iam_role.flow_log.permissions_boundary == var.permissions_boundary_arn
    error_message = "the role must have the boundary"
  }

  assert {
    condition = jsondecode(aws_iam_role.flow_log.assume_role_policy).Statement[0].Condition == {
      StringEquals = { "aws:SourceAccount" = "111122223333" }
      ArnLike      = { "aws:SourceArn" = "arn:aws:ec2:eu-central-1:111122223333:vpc-flow-log/*" }
    }
    error_message = "only this account's flow logs may assume the role"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.flow_log.policy).Statement :
      !contains(statement.Resource, "*") && !contains(statement.Action, "logs:CreateLogGroup")
    ])
    error_message = "the role may neither write elsewhere nor make the log group again"
  }
}
