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
local annotations = obj.metadata.annotations or {}
local scheduled = type(obj.spec) == "table" and obj.spec.schedule ~= nil
-- Suspended holds all later waves of a sync. For a task that runs once, or is a hook, that is right: what comes after
-- it waits for it, as for a suspended Job. Nothing waits for the next time of a schedule, as for a suspended CronJob.
if is.Suspended then
  if scheduled and annotations["argocd.argoproj.io/hook"] == nil and annotations["helm.sh/hook"] == nil then
    return health("Healthy", is.Suspended)
  end
  return health("Suspended", is.Suspended)
end
if annotations["sallyport.dev/rerun"] ~= nil and annotations["sallyport.dev/rerun"] ~= status.rerun then
  return { status = "Progressing", message = "it is to run once more" }
end
if is.Failed then
  return health("Degraded", is.Failed)
end
if is.Complete then
  return health("Healthy", is.Complete)
end
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
