local actions = {}
local spec = obj.spec
if type(spec) ~= "table" then
  spec = {}
end
local status = obj.status
if type(status) ~= "table" then
  status = {}
end
local suspended = spec.suspend == true
local over = spec.schedule == nil and status.completionTime ~= nil
actions["rerun"] = { ["iconClass"] = "fa fa-fw fa-redo", ["disabled"] = suspended }
actions["resume"] = { ["iconClass"] = "fa fa-fw fa-play", ["disabled"] = not suspended }
actions["suspend"] = { ["iconClass"] = "fa fa-fw fa-pause", ["disabled"] = suspended or over }
return actions
