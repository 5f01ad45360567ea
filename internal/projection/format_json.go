package projection

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

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

// validateJSON refuses the output of a template that is no JSON. It does not say where: that would tell how long the
// values before it are, and which of them holds a quote. A check says where of what is wrong with any values.
func validateJSON(output []byte) error {
	switch {
	case !utf8.Valid(output):
		return notText()
	case !json.Valid(output):
		return noJSON("what the template makes is no JSON")
	}
	return nil
}

// checkJSON is validateJSON for an output of which everything is known.
func checkJSON(output []byte) error {
	if err := checkJSONStart(output); err != nil {
		return err
	}
	return validateJSON(output)
}

// checkJSONStart refuses the beginning of an output, all of it known, with which no JSON begins.
func checkJSONStart(start []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(start))
	var value json.RawMessage
	err := decoder.Decode(&value)
	rest := bytes.TrimLeft(start[decoder.InputOffset():], " \t\r\n")
	wrong := len(start) - len(rest)
	syntax, isSyntax := errors.AsType[*json.SyntaxError](err)
	switch {
	case isSyntax:
		wrong = max(0, min(int(syntax.Offset)-1, len(start))) // the offset is behind it
	case err != nil, len(rest) == 0: // it ends before the JSON does, or with it
		return nil //nolint:nilerr // what is missing follows
	}
	line := 1 + bytes.Count(start[:wrong], []byte("\n"))
	return noJSON("line %d of what the template makes is no JSON, whatever the values are", line)
}

// noJSON is the fault of a template whose output has to be JSON. It is waiting: another secret may cure it.
func noJSON(problem string, args ...any) error {
	return fault.Waiting(v1alpha1.ReasonNotRepresentable, problem, args...).
		WithRemedy("%s", `have toJson write each value, quotes included: "password": {{ toJson .password }}`)
}
