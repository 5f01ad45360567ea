package projection

const (
	// maxWork is the work budget of the templates of one volume, in units of about a byte that is read, copied or held.
	// It takes well under a second, and no honest template comes near it.
	maxWork = 32 << 20
	// nodePrice is the price of evaluating one node of a loop's body.
	nodePrice = 16
)

// workBudget is the work that the templates of one volume may still do. It counts instead of looking at a clock, so
// that the same template and value always have the same result.
type workBudget struct{ left int }

func (b *workBudget) spend(units int) error {
	if b.left -= units; b.left < 0 {
		return &functionError{problem: "the templates of this Connection do too much work", remedy: "loop over less"}
	}
	return nil
}

// charge spends on one turn of a loop whose body has this many nodes. It is a function of templates, so it returns a
// text to print: none.
func (b *workBudget) charge(nodes int) (string, error) { return "", b.spend((nodes + 1) * nodePrice) }

// spendOnText spends on a text that a function makes, before it makes it where its length is known.
func (b *workBudget) spendOnText(length int) error {
	if length > MaxContentBytes {
		return errFunction("this makes a text of more than %d bytes; a volume holds no more", MaxContentBytes)
	}
	return b.spend(length)
}
