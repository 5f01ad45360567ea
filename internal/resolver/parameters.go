package resolver

import (
	"context"
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/projection"
)

// templateBegin is what the texts of parameters have that are templates.
const templateBegin = "{{"

// forPod puts fields of the pod into the parameters of writes; without one it finds out what is wrong whatever the pod
// is.
func (p *plan) forPod(ctx context.Context, pod *Pod) error {
	renderer := projection.NewRenderer(ctx)
	for _, s := range p.sources {
		if !s.location.Write {
			continue
		}
		fields, err := podFields(pod, s.podLabels)
		if err == nil {
			var rendered any
			rendered, err = render(renderer, s.location.Parameters, fields)
			s.location.Parameters, _ = rendered.(map[string]any)
		}
		if err != nil {
			return fault.InField(err, "parameters of %s", s.label)
		}
	}
	return nil
}

// podFields is what templates are given: of the labels those alone that the author listed.
func podFields(pod *Pod, labels []string) (map[string]any, error) {
	if pod == nil {
		unknown := projection.Unknown{}
		listed := map[string]any{}
		for _, key := range labels {
			listed[key] = unknown
		}
		return map[string]any{"pod": map[string]any{
			"namespace": unknown, "name": unknown, "serviceAccount": unknown, "labels": listed,
		}}, nil
	}
	listed := map[string]any{}
	var all map[string]string
	if len(labels) > 0 {
		var err error
		if all, err = pod.Labels(); err != nil {
			return nil, err
		}
	}
	for _, key := range labels {
		value, found := all[key]
		if !found {
			return nil, fault.Waiting(v1alpha1.ReasonInvalidTemplate, "pod %s/%s lacks the label %q, which podLabels lists", pod.Namespace, pod.Name, key).
				WithRemedy("give it to the pod, or take it off the list")
		}
		listed[key] = value
	}
	return map[string]any{"pod": map[string]any{
		"namespace": pod.Namespace, "name": pod.Name, "serviceAccount": pod.ServiceAccount, "labels": listed,
	}}, nil
}

// render returns a value of JSON whose texts were executed that are templates.
func render(renderer *projection.Renderer, value any, fields map[string]any) (any, error) {
	switch v := value.(type) {
	case string:
		if !strings.Contains(v, templateBegin) {
			return v, nil
		}
		return renderer.Render(v, fields)
	case []any:
		rendered := make([]any, len(v))
		for i, item := range v {
			var err error
			if rendered[i], err = render(renderer, item, fields); err != nil {
				return nil, fault.InField(err, "[%d]", i)
			}
		}
		return rendered, nil
	case map[string]any:
		rendered := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			var err error
			if rendered[key], err = render(renderer, v[key], fields); err != nil {
				return nil, fault.InField(err, "%q", key)
			}
		}
		return rendered, nil
	}
	return value, nil
}
