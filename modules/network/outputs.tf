output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "vpc_cidr" {
  description = "Addresses of the VPC."
  value       = aws_vpc.this.cidr_block
}

output "private_subnet_ids" {
  description = "Ids of the private subnets, in the order of availability_zones."
  value       = [for zone in var.availability_zones : aws_subnet.private[zone].id]

  # Who takes a subnet from here may start a machine in it at once: it needs its way out.
  depends_on = [aws_route.private_nat, aws_route_table_association.private, aws_vpc_endpoint.gateway, aws_vpc_endpoint.interface]
}

output "public_subnet_ids" {
  description = "Ids of the public subnets, in the order of availability_zones."
  value       = [for zone in var.availability_zones : aws_subnet.public[zone].id]

  depends_on = [aws_route.public_internet, aws_route_table_association.public]
}

output "private_route_table_ids" {
  description = "Ids of the private subnets' route tables, in the order of availability_zones."
  value       = [for zone in var.availability_zones : aws_route_table.private[zone].id]
}

output "nat_public_ips" {
  description = "Addresses that the network's outgoing traffic comes from, for others' allow lists."
  value       = [for zone in var.availability_zones : aws_eip.nat[zone].public_ip if contains(local.nat_zones, zone)]
}
