local actions = {}
local enabled = type(obj.spec) ~= "table" or obj.spec.enabled ~= false
actions["refresh"] = { ["iconClass"] = "fa fa-fw fa-sync" }
actions["enable"] = { ["iconClass"] = "fa fa-fw fa-play", ["disabled"] = enabled }
actions["disable"] = { ["iconClass"] = "fa fa-fw fa-pause", ["disabled"] = not enabled }
return actions
