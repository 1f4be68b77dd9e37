"""The codes after which Terraform's alicloud provider tries a call again, as its source says."""

# What every resource of the provider tries again, and what it takes for an overloaded cloud.
RETRIED = {"Throttling", "Throttling.User", "ServiceUnavailable", "OperationConflict", "TaskConflict", "SystemBusy"}
ROUTE_ENTRY = ("IncorrectRouteEntryStatus", "IncorrectVpcStatus")
ASSOCIATION = ("IncorrectStatus", "IncorrectStatus.RouteTable", "IncorrectVSwitchStatus")
VPN = ("VpnGateway.Configuring", "VpnConnection.Configuring", "VpnTask.CONFLICT", "Appliance.Configuring")
CEN = ("InvalidOperation.CenInstanceStatus", "Operation.Blocking")
# What the resources try again beside these, action by action.
ALSO_RETRIED = {
    "ModifyVpcAttribute": ("IncorrectVpcStatus", "IncorrectStatus"),
    "DeleteVpc": ("DependencyViolation.VSwitch", "IncorrectVpcStatus"),
    "CreateVSwitch": ("CreateVSwitch.IncorrectStatus.cbnStatus", "IncorrectStatus", "IncorrectVSwitchStatus"),
    "ModifyVSwitchAttribute": ("IncorrectStatus.VSwitch", "IncorrectStatus.VpcRouteEntry"),
    "DeleteVSwitch": ("DependencyViolation", "DeleteVSwitch.IncorrectStatus.cbnStatus", "IncorrectRouteEntryStatus",
                      "IncorrectVSwitchStatus"),
    "CreateRouteEntry": ROUTE_ENTRY, "DeleteRouteEntry": ROUTE_ENTRY,
    "CreateRouteTable": ("IncorrectStatus",),
    "ModifyRouteTableAttributes": ("IncorrectStatus",),
    "DeleteRouteTable": ("IncorrectRouteTableStatus", "DependencyViolation.RouteEntry"),
    "AssociateRouteTable": ASSOCIATION, "UnassociateRouteTable": ASSOCIATION,
    "DeleteVpnGateway": ("VpnGateway.Configuring",),
    "DeleteCustomerGateway": ("VpnGateway.Configuring",),
    "CreateVpnConnection": VPN, "DeleteVpnConnection": VPN,
    "ModifyVpnConnectionAttribute": ("VpnGateway.Configuring", "VpnTask.CONFLICT"),
    "CreateVpnRouteEntry": VPN, "PublishVpnRouteEntry": VPN, "ModifyVpnRouteEntryWeight": VPN, "DeleteVpnRouteEntry": VPN,
    "CreateVpnPbrRouteEntry": VPN, "ModifyVpnPbrRouteEntryWeight": VPN, "DeleteVpnPbrRouteEntry": VPN,
    "CreateCen": ("Operation.Blocking",), "DeleteCen": CEN,
    "AttachCenChildInstance": (*CEN, "InvalidOperation.ChildInstanceStatus", "OperationFailed.InvalidVpcStatus"),
    "DetachCenChildInstance": (*CEN, "InstanceStatus.NotSupport"),
    # It looks for the text that these have in common, too.
    "PublishRouteEntries": (*CEN, "InvalidOperation.ChildInstanceStatus"),
    "WithdrawPublishedRouteEntries": ("InvalidOperation.CenInstanceStatus", "InternalError"),
}
