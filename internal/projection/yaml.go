package projection

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// writeYAML writes a block mapping, keys sorted.
func writeYAML(value map[string]any) ([]byte, error) {
	if err := validateTexts(value); err != nil {
		return nil, err
	}
	content, err := encodeYAML(value)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, fault.Waiting(v1alpha1.ReasonTooLarge, "as YAML the value has more than %d bytes", MaxContentBytes)
	case err != nil:
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the value cannot be written as YAML") // the error may quote the value
	}
	return content, nil
}

// encodeYAML writes nodes of its own making and not Go values, so that numbers keep their digits and every parser, of YAML 1.1 or
// 1.2, takes a string for a string.
func encodeYAML(value any) ([]byte, error) {
	content := &limited{left: MaxContentBytes}
	encoder := yaml.NewEncoder(content)
	encoder.SetIndent(2)
	err := encoder.Encode(yamlNode(value))
	if err == nil {
		err = encoder.Close()
	}
	if content.left < 0 {
		return nil, errTooLarge // which the encoder makes an error of its own
	}
	if err != nil {
		return nil, err
	}
	return content.buffer.Bytes(), nil
}

func yamlNode(value any) *yaml.Node {
	switch v := value.(type) {
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: "null"}
	case bool:
		if v {
			return &yaml.Node{Kind: yaml.ScalarNode, Value: "true"}
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Value: "false"}
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: v}
	case []any:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range v {
			list.Content = append(list.Content, yamlNode(item))
		}
		return list
	case map[string]any:
		mapping := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range sortedKeys(v) {
			mapping.Content = append(mapping.Content, yamlKey(key), yamlNode(v[key]))
		}
		return mapping
	default:
		written, _ := json.Marshal(v)
		return &yaml.Node{Kind: yaml.ScalarNode, Value: yamlNumber(string(written))}
	}
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// otherKey is what a parser of YAML 1.1 takes for a bool or for null.
var otherKey = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)

// yamlKey leaves out the quotes where nobody needs them.
func yamlKey(key string) *yaml.Node {
	node := yamlNode(key)
	if plainKey.MatchString(key) && !otherKey.MatchString(key) {
		node.Style = 0
	}
	return node
}

// yamlNumber makes a number of JSON one of YAML 1.1 too, which takes 1e3 for a string: there the point and the sign are not optional.
func yamlNumber(digits string) string {
	mantissa, exponent, found := strings.Cut(strings.ToLower(digits), "e")
	if !found {
		return digits
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if !strings.HasPrefix(exponent, "-") && !strings.HasPrefix(exponent, "+") {
		exponent = "+" + exponent
	}
	return mantissa + "e" + exponent
}

// errTooLarge ends what would write more than a volume holds.
var errTooLarge = errors.New("more than a volume holds")

// limited is a buffer that refuses to grow beyond its limit.
type limited struct {
	buffer bytes.Buffer
	left   int
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errTooLarge
	}
	return l.buffer.Write(p)
}
