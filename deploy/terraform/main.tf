# Identities for workloads of one AKS cluster: each a user-assigned managed identity, with the roles
# that it needs and with one of the two ways by which imdsgate gets its tokens:
#
#   federation   it trusts a ServiceAccount of the cluster; no node has it
#   assignment   it is assigned to the node pools' scale sets; bound by AzureIdentityBinding
#
# Nothing here gives the agent itself a right in Azure: it needs none.

terraform {
  required_version = ">= 1.5"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 5.0, < 6.0"
    }
    azapi = {
      source  = "azure/azapi"
      version = "~> 2.0"
    }
  }
}

data "azurerm_kubernetes_cluster" "this" {
  name                = var.cluster.name
  resource_group_name = var.cluster.resource_group
}

resource "azurerm_user_assigned_identity" "workload" {
  for_each            = var.workloads
  name                = each.key
  resource_group_name = var.cluster.resource_group
  location            = data.azurerm_kubernetes_cluster.this.location
}

# ---- what each may do --------------------------------------------------------------------------

locals {
  roles = merge([
    for name, workload in var.workloads : {
      for role in workload.roles : "${name}/${role.name}/${role.scope}" => merge(role, { workload = name })
    }
  ]...)
}

resource "azurerm_role_assignment" "workload" {
  for_each             = local.roles
  principal_id         = azurerm_user_assigned_identity.workload[each.value.workload].principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = each.value.name
  scope                = each.value.scope
}

# ---- federation --------------------------------------------------------------------------------

resource "azurerm_federated_identity_credential" "workload" {
  for_each                  = { for name, w in var.workloads : name => w.service_account if w.service_account != null }
  name                      = "imdsgate"
  user_assigned_identity_id = azurerm_user_assigned_identity.workload[each.key].id
  issuer                    = data.azurerm_kubernetes_cluster.this.oidc_issuer_url
  subject                   = "system:serviceaccount:${each.value.namespace}:${each.value.name}"
  audience                  = [var.audience]
}

# ---- assignment --------------------------------------------------------------------------------

locals {
  assigned = {
    for name, workload in var.workloads :
    azurerm_user_assigned_identity.workload[name].id => {} if workload.service_account == null
  }
  # the ids are known only after the identities were made, this before
  assigns = anytrue([for workload in var.workloads : workload.service_account == null])
}

# A PATCH adds to the identities of a scale set and leaves all else as AKS made it. No update resource
# of azapi's: that reads the whole scale set and puts it back, without what cannot be read, such as the
# protected settings by which new machines join the cluster. Nothing is taken away again here:
# `az vmss identity remove` does.
resource "azapi_resource_action" "assigned" {
  for_each    = local.assigns ? var.scale_set_ids : toset([])
  type        = "Microsoft.Compute/virtualMachineScaleSets@2024-07-01"
  resource_id = each.value
  method      = "PATCH"
  body = {
    identity = {
      type                   = "UserAssigned"
      userAssignedIdentities = local.assigned
    }
  }
}

# ---- what goes into the cluster ----------------------------------------------------------------

output "service_accounts" {
  description = "Annotations for the ServiceAccounts."
  value = {
    for name, workload in var.workloads :
    "${workload.service_account.namespace}/${workload.service_account.name}" => {
      "azure.workload.identity/client-id" = azurerm_user_assigned_identity.workload[name].client_id
      "azure.workload.identity/tenant-id" = azurerm_user_assigned_identity.workload[name].tenant_id
    } if workload.service_account != null
  }
}

output "azure_identities" {
  description = "spec of the AzureIdentity of each identity that is assigned to nodes."
  value = {
    for name, workload in var.workloads : name => {
      type       = 0
      resourceID = azurerm_user_assigned_identity.workload[name].id
      clientID   = azurerm_user_assigned_identity.workload[name].client_id
    } if workload.service_account == null
  }
}
