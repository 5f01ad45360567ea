local actions = {}
actions["refresh"] = { ["iconClass"] = "fa fa-fw fa-sync" }
return actions
