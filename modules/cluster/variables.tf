variable "name" {
  description = "Name of the cluster and prefix of everything around it, for example \"strongroom-dev\". Roles are the account's, not the region's: a second cluster in an account needs another name. Cannot be changed without replacing the cluster."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,38}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 40 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes, for example \"1.34\". Raise it by one minor version at a time; the nodes follow the control plane, and it cannot be lowered."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^1\\.[1-9][0-9]$", var.kubernetes_version))
    error_message = "kubernetes_version must be a minor version in quotes, such as \"1.34\", without v and without a patch number."
  }
}

variable "support_type" {
  description = "What happens when the version leaves standard support: \"STANDARD\" upgrades the control plane by itself, \"EXTENDED\" keeps the version at six times the price."
  type        = string
  default     = "STANDARD"
  nullable    = false

  validation {
    condition     = contains(["STANDARD", "EXTENDED"], var.support_type)
    error_message = "support_type must be \"STANDARD\" or \"EXTENDED\"."
  }
}

variable "vpc_id" {
  description = "VPC of the subnets."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "vpc_id must be a VPC's id, such as vpc-0123456789abcdef0."
  }
}

variable "private_subnet_ids" {
  description = "Private subnets in at least two zones, for the nodes and the control plane's interfaces."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(distinct(var.private_subnet_ids)) >= 2 && length(distinct(var.private_subnet_ids)) == length(var.private_subnet_ids)
    error_message = "private_subnet_ids must name at least two different subnets, in different zones: EKS refuses fewer."
  }

  validation {
    condition     = alltrue([for id in var.private_subnet_ids : startswith(id, "subnet-")])
    error_message = "private_subnet_ids must be subnets' ids, such as subnet-0123456789abcdef0."
  }
}

variable "service_cidr" {
  description = "Addresses of Kubernetes services. They exist inside the cluster only, yet hide whatever has the same addresses outside. Cannot be changed without replacing the cluster."
  type        = string
  default     = "172.20.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.service_cidr)) && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.service_cidr))
    error_message = "service_cidr must be a range within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."
  }

  validation {
    condition     = !can(cidrnetmask(var.service_cidr)) || try(tonumber(split("/", var.service_cidr)[1]) >= 12 && tonumber(split("/", var.service_cidr)[1]) <= 24 && cidrhost(var.service_cidr, 0) == split("/", var.service_cidr)[0], false)
    error_message = "service_cidr must be between /12 and /24 and begin at the range's first address."
  }
}

variable "node_groups" {
  description = "Groups of nodes by name. `architecture` chooses the processor: \"arm64\" or \"x86_64\", and instance_types must be of it. `desired_size` counts at creation only; afterwards the autoscaler moves it between min_size and max_size. `release_version` pins the nodes' image; without it new groups take the newest and old ones keep theirs."
  type = map(object({
    architecture    = string
    instance_types  = list(string)
    capacity_type   = optional(string, "ON_DEMAND")
    min_size        = number
    max_size        = number
    desired_size    = number
    disk_gib        = optional(number, 50)
    release_version = optional(string)
  }))
  nullable = false

  validation {
    condition     = length(var.node_groups) > 0
    error_message = "node_groups must have at least one group: DNS and metrics run on nodes."
  }

  validation {
    # The provider adds 26 characters, and EKS allows 63.
    condition     = alltrue([for name in keys(var.node_groups) : can(regex("^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$", name))])
    error_message = "node_groups: a group's name must be 1 to 30 lower-case letters, digits and hyphens, and begin with a letter."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : contains(["arm64", "x86_64"], group.architecture)])
    error_message = "node_groups: architecture must be \"arm64\" or \"x86_64\"."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : length(group.instance_types) > 0 && length(distinct(group.instance_types)) == length(group.instance_types)])
    error_message = "node_groups: instance_types must name at least one type, and none twice."
  }

  validation {
    condition     = alltrue(flatten([for group in var.node_groups : [for type in group.instance_types : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", type))]]))
    error_message = "node_groups: instance_types must be such as m7g.large."
  }

  validation {
    condition     = alltrue(flatten([for group in var.node_groups : [for type in group.instance_types : !can(regex("^(a1|mac[0-9].*)\\.|\\.(nano|micro)$", type))]]))
    error_message = "node_groups: instance_types must not be of a1 or mac, which Amazon Linux 2023 does not run on, nor nano or micro, which the cluster's own pods fill."
  }

  validation {
    # Graviton has a g after the generation's digit (m7g, c7gn, g5g); x86 with a GPU has it before (g5, g4dn).
    condition = alltrue(flatten([
      for group in var.node_groups : [
        for type in group.instance_types :
        can(regex("^[a-z]+[0-9]+[a-z]*g[a-z]*\\.", type)) == (group.architecture == "arm64")
      ]
    ]))
    error_message = "node_groups: instance_types must be of the group's architecture: arm64 takes Graviton types, with a g after the digit (m7g, t4g), x86_64 all others (m7i, t3). ${join("; ", flatten([for name, group in var.node_groups : [for type in group.instance_types : "${name}: ${type} is not ${group.architecture}" if can(regex("^[a-z]+[0-9]+[a-z]*g[a-z]*\\.", type)) != (group.architecture == "arm64")]]))}."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : contains(["ON_DEMAND", "SPOT"], group.capacity_type)])
    error_message = "node_groups: capacity_type must be \"ON_DEMAND\" or \"SPOT\"."
  }

  validation {
    condition     = alltrue(flatten([for group in var.node_groups : [for size in [group.min_size, group.max_size, group.desired_size] : size == floor(size)]]))
    error_message = "node_groups: sizes must be whole numbers."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : 0 <= group.min_size && group.min_size <= group.desired_size && group.desired_size <= group.max_size && group.max_size >= 1])
    error_message = "node_groups: sizes must satisfy 0 <= min_size <= desired_size <= max_size, and max_size >= 1."
  }

  validation {
    condition     = anytrue([for group in var.node_groups : group.desired_size >= 1]) || length(var.node_groups) == 0
    error_message = "node_groups: at least one group must begin with a node (desired_size >= 1): DNS and metrics wait for it."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : group.disk_gib >= 20 && group.disk_gib <= 16384 && group.disk_gib == floor(group.disk_gib)])
    error_message = "node_groups: disk_gib must be a whole number from 20, the size of the image, to 16384."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : group.release_version == null || startswith(coalesce(group.release_version, "none"), "${var.kubernetes_version}.")])
    error_message = "node_groups: release_version must be an image of kubernetes_version: EKS refuses nodes of another minor version than their group's."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : group.release_version == null || can(regex("^1\\.[0-9]+\\.[0-9]+-[0-9]{8}$", group.release_version))])
    error_message = "node_groups: release_version must be an image release of EKS, such as 1.34.2-20260107."
  }
}

variable "access" {
  description = "Who may do what in the cluster, by a name of your choice: an IAM role or user, one of the policies admin, cluster-admin, edit and view, and the namespaces that it is confined to (all without them). Nobody else gets in, whoever made the cluster included."
  type = map(object({
    principal_arn = string
    policy        = string
    namespaces    = optional(set(string))
  }))
  nullable = false

  validation {
    condition     = anytrue([for entry in var.access : entry.policy == "cluster-admin"])
    error_message = "access must have at least one cluster-admin: the cluster's creator gets no rights, and a cluster that nobody administers cannot be mended from inside."
  }

  validation {
    condition     = alltrue([for entry in var.access : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry.principal_arn))])
    error_message = "access: principal_arn must be the ARN of an IAM role or user, such as arn:aws:iam::111122223333:role/platform: not of a session (arn:aws:sts::…:assumed-role/…), the account or a pattern."
  }

  validation {
    condition     = length(distinct([for entry in var.access : entry.principal_arn])) == length(var.access)
    error_message = "access: each principal_arn may have one entry only."
  }

  validation {
    condition     = alltrue([for entry in var.access : contains(["admin", "cluster-admin", "edit", "view"], entry.policy)])
    error_message = "access: policy must be \"admin\", \"cluster-admin\", \"edit\" or \"view\"."
  }

  validation {
    condition     = alltrue([for entry in var.access : entry.policy != "cluster-admin" || entry.namespaces == null])
    error_message = "access: cluster-admin cannot be confined to namespaces; take \"admin\" for these."
  }

  validation {
    condition     = alltrue([for entry in var.access : try(length(entry.namespaces) > 0, true)])
    error_message = "access: namespaces must name at least one namespace, or be left out for all."
  }
}

variable "endpoint_public_access" {
  description = "Whether the API server can be reached from the internet, too. It always can from the VPC."
  type        = bool
  default     = false
  nullable    = false
}

variable "public_access_cidrs" {
  description = "Public addresses that may reach the API server, with endpoint_public_access."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    # A set of an empty list is what EKS takes for the whole internet.
    condition     = !var.endpoint_public_access || length(var.public_access_cidrs) > 0
    error_message = "public_access_cidrs must name the addresses that may reach the API server, for example [\"203.0.113.0/24\"], when endpoint_public_access is true."
  }

  validation {
    condition     = var.endpoint_public_access || length(var.public_access_cidrs) == 0
    error_message = "public_access_cidrs has no effect unless endpoint_public_access is true: set it, or leave the addresses out."
  }

  validation {
    condition     = alltrue([for cidr in var.public_access_cidrs : can(cidrnetmask(cidr))])
    error_message = "public_access_cidrs must be IPv4 ranges such as 203.0.113.0/24."
  }

  validation {
    # Halves of the internet are the internet.
    condition     = alltrue([for cidr in var.public_access_cidrs : try(tonumber(split("/", cidr)[1]) >= 16, true)])
    error_message = "public_access_cidrs must not be wider than /16, 0.0.0.0/0 least of all: name the addresses of your offices and VPN."
  }

  validation {
    condition     = alltrue([for cidr in var.public_access_cidrs : !can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", cidr))])
    error_message = "public_access_cidrs must be public addresses: EKS refuses private ones here. For those there is private_access_cidrs."
  }
}

variable "private_access_cidrs" {
  description = "Addresses that may reach the API server's private endpoint, besides the nodes: those of a VPN, a peered network or the VPC itself."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.private_access_cidrs : can(cidrnetmask(cidr))])
    error_message = "private_access_cidrs must be IPv4 ranges such as 10.0.0.0/16."
  }

  validation {
    condition     = alltrue([for cidr in var.private_access_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, true)])
    error_message = "private_access_cidrs must not be wider than /8, 0.0.0.0/0 least of all."
  }
}

variable "log_retention_days" {
  description = "Days for which the control plane's logs, the audit log among them, are kept."
  type        = number
  nullable    = false

  validation {
    # Zero, for ever, is left out on purpose.
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a period that CloudWatch Logs knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

variable "deletion_protection" {
  description = "Whether EKS refuses to delete the cluster. To delete it, apply false first."
  type        = bool
  default     = true
  nullable    = false
}

variable "zonal_shift" {
  description = "Whether traffic inside the cluster may be moved away from a zone in trouble, by an operator (ARC zonal shift)."
  type        = bool
  default     = true
  nullable    = false
}

variable "addon_versions" {
  description = "Versions of the add-ons vpc-cni, kube-proxy, coredns and metrics-server. One left out gets EKS's default when it is installed and stays there: name kube-proxy's when you raise kubernetes_version."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = startswith(lookup(var.addon_versions, "kube-proxy", "v${var.kubernetes_version}."), "v${var.kubernetes_version}.")
    error_message = "addon_versions: kube-proxy must be of kubernetes_version: raise both in one change."
  }

  validation {
    condition     = length(setsubtract(keys(var.addon_versions), ["coredns", "kube-proxy", "metrics-server", "vpc-cni"])) == 0
    error_message = "addon_versions may name coredns, kube-proxy, metrics-server and vpc-cni only."
  }

  validation {
    condition     = alltrue([for version in values(var.addon_versions) : can(regex("^v[0-9]+\\.[0-9]+\\.[0-9]+-eksbuild\\.[0-9]+$", version))])
    error_message = "addon_versions must be such as v1.20.4-eksbuild.2; `aws eks describe-addon-versions` lists them."
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
