package projection

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// This file alone looks into the texts of text/template's errors, because that package has no error types for parsing,
// nor for what goes wrong in an execution. An unknown text becomes a general sentence.

// maxParseError bounds the quotation of a parser's message.
const maxParseError = 200

const (
	remedyFunctions   = "the reference of Connections lists the functions"
	remedyOneTemplate = "one file is one template"
	remedyNoSuchKey   = "hasKey tells whether there is one"
	remedyIndex       = `a key with other characters than letters, digits and "_" needs index: {{ index . "my-key" }}`
)

var parseMessage = regexp.MustCompile(`^template: t:(\d+):(?:\d+:)? (.*)$`)

// parseFault turns an error of template.Parse into a fault. The message quotes the template only.
func parseFault(err error) error {
	line, message := "1", "it cannot be parsed"
	if found := parseMessage.FindStringSubmatch(oneLine(err)); found != nil {
		line, message = found[1], found[2]
	}
	if len(message) > maxParseError {
		message = strings.ToValidUTF8(message[:maxParseError], "") + "…"
	}
	problem := fault.Terminal(v1alpha1.ReasonInvalidTemplate, "line %s: %s", line, message)
	if strings.HasPrefix(message, "function ") { // function "x" not defined
		return problem.WithRemedy("%s", remedyFunctions)
	}
	if strings.HasPrefix(message, "bad character ") {
		return problem.WithRemedy("%s", remedyIndex)
	}
	return problem
}

// oneLine is the error's text on one line.
func oneLine(err error) string {
	return strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\n", " "), "\uFFFD")
}

// executionMessage matches errors of template.Execute: the line, the piece of the template that failed, and the cause.
// The cause may quote a value, so it is never passed on.
var executionMessage = regexp.MustCompile(`^template: t:(\d+):\d+: executing "t" at <(.*?)>: (.*)$`)

// executionFault turns an error of template.Execute into a fault. It is waiting: the content of Vault may be wrong as
// well as the template.
func executionFault(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.Transient(v1alpha1.ReasonInternal, "the request ended before the templates did")
	}
	if errors.Is(err, errTooLarge) {
		return fault.Waiting(v1alpha1.ReasonTooLarge, "it has more than %d bytes; a volume holds no more", MaxContentBytes)
	}
	line, piece, cause := dissected(err)
	problem, remedy := explain(cause)
	if own, ok := errors.AsType[*functionError](err); ok {
		problem, remedy = own.problem, own.remedy
	}
	return fault.Waiting(v1alpha1.ReasonInvalidTemplate, "line %s:%s %s", line, piece, problem).WithRemedy("%s", remedy)
}

// undecidedFault says where a template cannot go on without a value.
func undecidedFault(err error) error {
	line, piece, _ := dissected(err)
	return fault.Waiting(v1alpha1.ReasonInvalidTemplate, "line %s:%s what is written here depends on a value", line, piece)
}

// dissected is where a template failed, and why.
func dissected(err error) (line, piece, cause string) {
	if found := executionMessage.FindStringSubmatch(oneLine(err)); found != nil {
		return found[1], asWritten(found[2]), found[3]
	}
	return "1", "", ""
}

// asWritten is a piece of the template without the calls that the author did not write.
func asWritten(piece string) string {
	charge := strings.HasPrefix(piece, functionCharge)
	for strings.HasPrefix(piece, "_") {
		_, piece, _ = strings.Cut(piece, " ")
		piece = strings.TrimSuffix(strings.TrimPrefix(piece, "("), ")")
	}
	if piece == "" || charge {
		return ""
	}
	return " " + bounded(piece) + ":"
}

// isFieldOfNoObject tells whether a template failed because it wants a field of what is no object. In a check that may
// be Unknown, and the value an object that has it; text/template names the type of neither.
func isFieldOfNoObject(err error) bool {
	return err != nil && strings.Contains(err.Error(), "can't evaluate field")
}

// explain returns our sentence for a cause that text/template names.
func explain(cause string) (problem, remedy string) {
	switch {
	case strings.HasPrefix(cause, "map has no entry for key"):
		return "there is no such key", remedyNoSuchKey
	case strings.HasPrefix(cause, "can't evaluate field"),
		strings.HasPrefix(cause, "nil pointer"), strings.HasPrefix(cause, "nil data"):
		return "there is no such key, for what should hold it is not an object", ""
	case strings.HasPrefix(cause, "wrong number of args"):
		return "the function takes another number of arguments", ""
	case strings.HasPrefix(cause, "range can't iterate"):
		return "range needs a list, an object or an integer", ""
	}
	return "this cannot be evaluated with the value as it is", "look at the types"
}
