package projection

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

var _ = registerFormat(v1alpha1.FileFormatDockerEnv,
	fileFormat{validateKeys: validateVariables, write: entries(writeDockerEnv)})

// maxDockerLine is the longest line that docker run --env-file reads: the buffer of Go's bufio.Scanner.
const maxDockerLine = 64<<10 - 1

// writeDockerEnv writes a line for docker run --env-file. Everything after the = is the value, quotes too.
func writeDockerEnv(to *bytes.Buffer, key, text string) *fault.Fault {
	if problem := validateVariable(key, text); problem != nil {
		return problem
	}
	switch {
	case strings.ContainsAny(text, "\n\r"):
		return notRepresentable("holds a line break, which docker's format cannot hold", "use another format")
	case !utf8.ValidString(text):
		return notText()
	case len(key)+len("=\n")+len(text) > maxDockerLine:
		return notRepresentable("makes a line of more than 64 KiB, which docker does not read", "use another format")
	}
	to.WriteString(key + "=" + text + "\n")
	return nil
}
