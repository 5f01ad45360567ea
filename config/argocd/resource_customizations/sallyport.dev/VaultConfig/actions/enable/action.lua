obj.spec.enabled = nil
return obj
