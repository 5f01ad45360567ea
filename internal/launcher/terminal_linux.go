package launcher

import "golang.org/x/sys/unix"

// terminalRequest is the ioctl that only a terminal answers.
const terminalRequest = unix.TCGETS
