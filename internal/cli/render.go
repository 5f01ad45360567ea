package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/ownvault"
	"sallyport.dev/sallyport/internal/cli/render"
	"sallyport.dev/sallyport/internal/fault"
)

func newRender(p *program) *cobra.Command {
	r := &renderCommand{program: p}
	c := &cobra.Command{
		Use:   "render CONNECTION",
		Short: "Show the files that a pod would get, with references in place of values, or with values that your own token reads",
		Example: "  kubectl sallyport render connection/oracle\n" +
			"  VAULT_TOKEN=… kubectl sallyport render oracle --show-values",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeObjects([]string{"connection"}),
		RunE:              p.run(r.render),
	}
	p.addOutput(c)
	c.Flags().BoolVar(&r.showValues, "show-values", false, "read the values with your own token: VAULT_ADDR, VAULT_TOKEN")
	return c
}

// renderCommand is render, with its flag.
type renderCommand struct {
	*program
	showValues bool
}

func (p *renderCommand) render(ctx context.Context, to *cluster.Cluster, args []string) error {
	arg := args[0]
	if !strings.Contains(arg, "/") {
		arg = "connection/" + arg
	}
	kind, name, err := object([]string{arg})
	if err != nil {
		return err
	}
	if kind.Name != fault.KindConnection {
		return usageError{fmt.Errorf("render is for connection, not for %s", strings.ToLower(kind.Name))}
	}
	connection := &v1alpha1.Connection{}
	if err := to.Get(ctx, client.ObjectKey{Namespace: to.Namespace, Name: name}, connection); err != nil {
		return err
	}
	var files []render.File
	if p.showValues {
		var own *ownvault.Vault
		if own, err = ownvault.FromEnvironment(p.environment); err != nil {
			return err
		}
		files, err = render.WithValues(ctx, to, own, connection)
		if err != nil {
			return err
		}
	} else if files, err = render.Masked(ctx, connection); err != nil {
		return fmt.Errorf("%s %s/%s: %s", fault.KindConnection, connection.Namespace, name, fault.From(err).Message())
	}
	return p.printFiles(files)
}

// shownFile is a file as JSON and YAML have it: what is no text is in base64.
type shownFile struct {
	Path    string  `json:"path"`
	Mode    string  `json:"mode"`
	Content *string `json:"content,omitempty"`
	Base64  []byte  `json:"base64,omitempty"`
	Missing string  `json:"missing,omitempty"`
}

func (p *renderCommand) printFiles(files []render.File) error {
	list := make([]shownFile, len(files))
	missing := false
	for n := range files {
		f := &files[n]
		list[n] = shownFile{Path: f.Path, Mode: fmt.Sprintf("%04o", f.Mode), Missing: f.Missing}
		switch {
		case f.Missing != "":
			missing = true
		case utf8.Valid(f.Content):
			list[n].Content = new(string(f.Content))
		default:
			list[n].Base64 = f.Content
		}
	}
	err := p.print(items[shownFile]{list}, func(w io.Writer) {
		for n := range list {
			writeFile(w, &list[n])
		}
	})
	if err == nil && missing {
		return errWrong
	}
	return err
}

func writeFile(w io.Writer, f *shownFile) {
	_, _ = fmt.Fprintf(w, "==> %s (%s) <==\n", f.Path, f.Mode)
	switch {
	case f.Missing != "":
		_, _ = fmt.Fprintf(w, "? cannot be shown without values: %s\n", f.Missing)
	case f.Content == nil:
		_, _ = fmt.Fprintf(w, "? %d bytes that are no text; -o json has them in base64\n", len(f.Base64))
	default:
		_, _ = io.WriteString(w, strings.TrimSuffix(*f.Content, "\n")+"\n")
	}
}
