package launcher

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// programName is what the program is called in the directory that it is copied to.
const programName = "sallyport-exec"

// install copies this program into a directory.
func install(directory string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	// Renamed when it is complete: a container that is there already starts the former, or none.
	to, err := os.CreateTemp(directory, "."+programName+"-*")
	if err != nil {
		return fmt.Errorf("--install: %w: mount an emptyDir there, which the user of this container may write to", err)
	}
	defer func() { _ = os.Remove(to.Name()) }()
	if _, err = io.Copy(to, from); err == nil {
		err = to.Chmod(0o755)
	}
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(to.Name(), filepath.Join(directory, programName))
	}
	if err != nil {
		return fmt.Errorf("--install: %w", err)
	}
	return nil
}
