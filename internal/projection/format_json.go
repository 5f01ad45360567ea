package projection

import "sallyport.dev/sallyport/api/v1alpha1"

var _ = registerFormat(v1alpha1.FileFormatJSON, fileFormat{write: writeJSON})

// writeJSON writes one object on one line.
func writeJSON(value map[string]any) ([]byte, error) {
	if err := validateTexts(value); err != nil {
		return nil, err
	}
	content, err := compactJSON(value)
	if err != nil {
		return nil, jsonFault(err)
	}
	return append(content, '\n'), nil
}
