variable "cluster" {
  description = "The AKS cluster, with --enable-oidc-issuer for federation."
  type        = object({ name = string, resource_group = string })
}

variable "workloads" {
  description = "By name of the identity: what it may do, and the ServiceAccount that it trusts, if any."
  type = map(object({
    roles           = list(object({ name = string, scope = string }))
    service_account = optional(object({ namespace = string, name = string }))
  }))
}

variable "scale_set_ids" {
  description = "Resource ids of the node pools' scale sets; only for identities without a ServiceAccount."
  type        = set(string)
  default     = []
}

variable "audience" {
  description = "Entra ID's audience: another one in sovereign clouds (api://AzureADTokenExchangeUSGov, …China)."
  type        = string
  default     = "api://AzureADTokenExchange"
}
