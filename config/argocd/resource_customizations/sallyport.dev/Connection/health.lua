-- Conditions that are True, by type. What is not a condition, or of a type that is not known here, does not matter.
local function true_conditions(status)
  local found = {}
  if type(status.conditions) == "table" then
    for _, condition in ipairs(status.conditions) do
      if type(condition) == "table" and condition.status == "True" and condition.type ~= nil then
        found[condition.type] = condition
      end
    end
  end
  return found
end

local function health(status, condition)
  local message = tostring(condition.message or "")
  if condition.reason ~= nil and condition.reason ~= "Succeeded" then
    message = tostring(condition.reason) .. ": " .. message
  end
  return { status = status, message = message }
end

local status = obj.status
if type(status) ~= "table" then
  return { status = "Progressing", message = "Sallyport has not looked at it yet" }
end
local observed, generation = status.observedGeneration, obj.metadata.generation
if generation ~= nil and obj.metadata.deletionTimestamp ~= nil then
  generation = generation - 1 -- the deletion counts as a change, and nobody says that it was seen
end
if observed ~= nil and generation ~= nil and observed < generation then
  return { status = "Progressing", message = "Sallyport has not seen the change yet" }
end

local is = true_conditions(status)
if is.Stalled then
  return health("Degraded", is.Stalled)
end
if is.Reconciling then
  return health("Progressing", is.Reconciling)
end
if is.Ready then
  return health("Healthy", is.Ready)
end
return { status = "Progressing", message = "Sallyport has not looked at it yet" }
