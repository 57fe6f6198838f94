variable "name" {
  description = "Prefix of every name in the network, for example \"strongroom-dev\". Roles are the account's, not the region's: a second network in an account needs another name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,38}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 40 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "cidr" {
  description = "Addresses of the VPC, private (RFC 1918), /16 to /20. Pods take addresses of it too, so a /16 is no waste. Cannot be changed without replacing the VPC, and must not overlap with what it is ever peered with."
  type        = string
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.cidr))
    error_message = "cidr must be an IPv4 range such as 10.0.0.0/16."
  }

  validation {
    # Unparsable values have had their message above.
    condition     = try(cidrhost(var.cidr, 0) == split("/", var.cidr)[0], true)
    error_message = "cidr must begin at the range's first address (10.0.0.0/16, not 10.0.1.0/16): AWS would store another range than the one written here."
  }

  validation {
    condition     = !can(cidrnetmask(var.cidr)) || try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "cidr must be between /16 (the largest that AWS allows) and /20 (below it a subnet's addresses do not suffice for the pods of its nodes)."
  }

  validation {
    condition     = !can(cidrnetmask(var.cidr)) || can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.cidr))
    error_message = "cidr must lie in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16: public addresses would shadow the hosts that own them."
  }

  validation {
    # Docker's bridge: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
    condition     = !startswith(var.cidr, "172.17.")
    error_message = "cidr must not lie in 172.17.0.0/16, which container runtimes and some AWS services use themselves."
  }
}

variable "availability_zones" {
  description = "Three availability zones of the provider's region. Their order fixes the subnets' addresses: do not reorder it later."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.availability_zones) == 3 && length(distinct(var.availability_zones)) == 3
    error_message = "availability_zones must name three different zones, for example [\"eu-central-1a\", \"eu-central-1b\", \"eu-central-1c\"]."
  }

  validation {
    condition     = alltrue([for zone in var.availability_zones : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", zone))])
    error_message = "availability_zones must be names such as eu-central-1a; zone ids (euc1-az2), local and wavelength zones are not supported."
  }

  validation {
    condition     = length(distinct([for zone in var.availability_zones : trimsuffix(zone, substr(zone, -1, 1))])) <= 1
    error_message = "availability_zones must all lie in one region."
  }
}

variable "nat" {
  description = "NAT gateways: \"per_az\" survives the loss of a zone, \"single\" costs a third and does not."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["per_az", "single"], var.nat)
    error_message = "nat must be \"per_az\" (one gateway per zone) or \"single\" (one for all, where an outage is bearable)."
  }
}

variable "flow_log_retention_days" {
  description = "Days for which flow logs are kept."
  type        = number
  nullable    = false

  validation {
    # Zero, for ever, is left out on purpose.
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.flow_log_retention_days)
    error_message = "flow_log_retention_days must be a period that CloudWatch Logs knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

variable "interface_endpoints" {
  description = "AWS services reached inside the VPC by an interface endpoint, as in com.amazonaws.<region>.<service>. The default is what the nodes of a private EKS cluster call, but for EKS itself, whose endpoint would hide the clusters' issuers. Each costs by the hour and zone; without one the traffic goes through NAT, so an empty set works too."
  type        = set(string)
  default     = ["ec2", "ecr.api", "ecr.dkr", "logs", "sts"]
  nullable    = false

  validation {
    condition     = alltrue([for service in var.interface_endpoints : can(regex("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", service)) && !startswith(service, "com.amazonaws")])
    error_message = "interface_endpoints must be short service names such as \"ecr.api\" or \"sts\", without the prefix com.amazonaws.<region>."
  }

  validation {
    # https://docs.aws.amazon.com/eks/latest/userguide/enable-iam-roles-for-service-accounts.html
    condition     = length(setintersection(var.interface_endpoints, ["eks", "eks-auth"])) == 0
    error_message = "interface_endpoints must not name eks or eks-auth: the private zone of the first answers for all of *.eks.<region>.amazonaws.com, and has no oidc.eks.<region>.amazonaws.com, the issuer of the clusters' service accounts; the second is for pod identities, which nothing here has."
  }

  validation {
    condition     = length(setintersection(var.interface_endpoints, ["s3", "dynamodb"])) == 0
    error_message = "interface_endpoints must not name s3 or dynamodb: they always have gateway endpoints, which cost nothing."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds every role of this account."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:policy/[A-Za-z0-9+=,.@_/-]+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of a customer managed policy, such as arn:aws:iam::111122223333:policy/boundary."
  }
}
