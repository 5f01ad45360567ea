package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// source is the commit that a release is made of. Its time is the time of every file in the release.
type source struct {
	commit, tree string
	time         time.Time
}

func readSource(root string) (source, error) {
	state, err := git(root, "status", "--porcelain")
	if err != nil {
		return source{}, err
	}
	if state != "" {
		return source{}, fmt.Errorf("the checkout has changes that are not committed, "+
			"and a release says which commit it is:\n%s", state)
	}
	line, err := git(root, "log", "-1", "--format=%H %T %ct")
	if err != nil {
		return source{}, err
	}
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return source{}, fmt.Errorf("git log printed %q", line)
	}
	seconds, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return source{}, err
	}
	return source{commit: fields[0], tree: fields[1], time: time.Unix(seconds, 0).UTC()}, nil
}

func git(root string, arguments ...string) (string, error) {
	return output(exec.Command("git", append([]string{"-C", root}, arguments...)...))
}

// output runs a command whose messages go to the user.
func output(command *exec.Cmd) (string, error) {
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(command.Args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
