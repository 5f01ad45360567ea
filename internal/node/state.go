package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What lies in the directory of a volume, on the volume's own tmpfs: it vanishes together with the files that it speaks of.
const (
	// filesDir is the part that the pod sees.
	filesDir = "files"
	// stagingDir is where the mount for the pod is made read-only.
	stagingDir = "staging"
	stateFile  = "state.json"
	// newSuffix is of the next state, which is renamed when it is complete.
	newSuffix = ".new"
)

// state is what a new process must know of a volume to carry on. It holds no token, no content and no hash of any; the leases are
// sealed.
type state struct {
	VolumeID   string            `json:"volumeID"`
	TargetPath string            `json:"targetPath"`
	Pod        podIdentity       `json:"pod"`
	Attributes map[string]string `json:"attributes"`
	// Group owns the files; nil: the files are readable by everybody in the pod.
	Group *int64 `json:"group,omitempty"`
	// Revision is the resolver's name for the content, and DataDir the directory that holds that content. A refresh swaps
	// the files first and writes its state later: if ..data leads elsewhere, the revision is of files that are gone.
	Revision    string    `json:"revision,omitempty"`
	DataDir     string    `json:"dataDir,omitempty"`
	RefreshedAt time.Time `json:"refreshedAt,omitzero"`
	// Leases are all that the volume has: also those of files that are gone, until an answer says that these were given back.
	Leases leases `json:"leases,omitempty"`
	// Complete is set once the files are written and mounted. Without it, the volume was never reported ready.
	Complete bool `json:"complete,omitempty"`
}

// podIdentity names the pod that a volume belongs to, for logs.
type podIdentity struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

func (p podIdentity) String() string { return p.Namespace + "/" + p.Name }

// writeState replaces the state of the volume in dir in one step.
func (d *Driver) writeState(dir string, s state) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, stateFile)
	// A process that was killed here may have left one.
	if err := d.config.disk.Remove(path + newSuffix); err != nil {
		return err
	}
	if err := d.config.disk.WriteFile(path+newSuffix, content, 0o600); err != nil {
		return err
	}
	return d.config.disk.Rename(path+newSuffix, path)
}

// readState returns the state of the volume in dir, empty if there is none.
func readState(dir string) (state, error) {
	// A process that was killed before it could rename this one may have told only here of leases. A part of one is not read.
	s, err := readStateFile(filepath.Join(dir, stateFile+newSuffix))
	if err != nil {
		s, err = readStateFile(filepath.Join(dir, stateFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("reading %s: %w", stateFile, err)
	}
	// Without the link there is no content that the revision could name.
	if link, _ := os.Readlink(filepath.Join(dir, filesDir, dataLink)); link == "" || link != s.DataDir {
		s.Revision = ""
	}
	return s, nil
}

func readStateFile(path string) (state, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return state{}, err
	}
	return s, nil
}
