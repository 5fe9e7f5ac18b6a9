cluster = {
  name           = "shop"
  resource_group = "shop-prod"
}

workloads = {
  orders = {
    service_account = { namespace = "shop", name = "orders" }
    roles = [{
      name  = "Key Vault Secrets User"
      scope = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/shop-prod/providers/Microsoft.KeyVault/vaults/orders"
    }]
  }
  reports = { # no ServiceAccount: assigned to the nodes, bound by AzureIdentityBinding
    roles = [{
      name  = "Storage Blob Data Reader"
      scope = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/shop-prod/providers/Microsoft.Storage/storageAccounts/reports"
    }]
  }
}

scale_set_ids = [
  "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/MC_shop/providers/Microsoft.Compute/virtualMachineScaleSets/aks-pool1-12345678-vmss",
]
