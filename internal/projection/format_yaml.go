package projection

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

var _ = registerFormat(v1alpha1.FileFormatYAML, fileFormat{write: writeYAML})

// writeYAML writes a block mapping, keys sorted.
func writeYAML(value map[string]any) ([]byte, error) {
	if err := validateTexts(value); err != nil {
		return nil, err
	}
	content, err := encodeYAML(value)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, fault.Waiting(v1alpha1.ReasonTooLarge, "as YAML the value has more than %d bytes", MaxContentBytes)
	case err != nil: // it may quote the value
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the value cannot be written as YAML")
	}
	return content, nil
}

// encodeYAML encodes nodes of our own instead of Go values, so that numbers keep their digits and parsers of YAML 1.1
// and 1.2 both take a string for a string.
func encodeYAML(value any) ([]byte, error) {
	content := &boundedBuffer{left: MaxContentBytes}
	encoder := yaml.NewEncoder(content)
	encoder.SetIndent(2)
	err := encoder.Encode(yamlNode(value))
	if err == nil {
		err = encoder.Close()
	}
	if content.left < 0 {
		return nil, errTooLarge // the encoder returns an error of its own in its place
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

// reservedKey matches words that a parser of YAML 1.1 takes for a bool or for null.
var reservedKey = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)

// yamlKey is a key without quotes, unless a parser needs them.
func yamlKey(key string) *yaml.Node {
	node := yamlNode(key)
	if plainKey.MatchString(key) && !reservedKey.MatchString(key) {
		node.Style = 0
	}
	return node
}

// yamlNumber makes a number of JSON one of YAML 1.1 too, in which the point and the sign are not optional: it takes 1e3
// for a string.
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
