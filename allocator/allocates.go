package allocator

import "errors"

// Each command says by itself whether it may give somebody an address that looks free, so that a new one cannot pass a
// gate unnoticed.

// Allocates implements Command.
func (Attach) Allocates() bool { return true }

// Allocates implements Command.
func (Bind) Allocates() bool { return true }

// Allocates implements Command.
func (Claim) Allocates() bool { return true }

// Allocates implements Command.
func (Reserve) Allocates() bool { return true }

// Allocates implements Command.
func (SizePool) Allocates() bool { return true }

// These take nothing that looks free: Adopt and Import record what is in use already.

// Allocates implements Command.
func (Adopt) Allocates() bool { return false }

// Allocates implements Command.
func (ChangeWorkload) Allocates() bool { return false }

// Allocates implements Command.
func (Configure) Allocates() bool { return false }

// Allocates implements Command.
func (ConfigureOverlay) Allocates() bool { return false }

// Allocates implements Command.
func (DeletePool) Allocates() bool { return false }

// Allocates implements Command.
func (Detach) Allocates() bool { return false }

// Allocates implements Command.
func (EndPod) Allocates() bool { return false }

// Allocates implements Command.
func (Expire) Allocates() bool { return false }

// Allocates implements Command.
func (FindFormer) Allocates() bool { return false }

// Allocates implements Command.
func (Import) Allocates() bool { return false }

// Allocates implements Command.
func (JoinNode) Allocates() bool { return false }

// Allocates implements Command.
func (LoseNode) Allocates() bool { return false }

// Allocates implements Command.
func (MarkAdopted) Allocates() bool { return false }

// Allocates implements Command.
func (MarkAssigned) Allocates() bool { return false }

// Allocates implements Command.
func (MarkUnassigned) Allocates() bool { return false }

// Allocates implements Command.
func (Release) Allocates() bool { return false }

// Allocates implements Command.
func (ReleaseNode) Allocates() bool { return false }

// Allocates implements Command.
func (ResolveFormer) Allocates() bool { return false }

// Conflicts reports whether an error says that an address is held for somebody else: known to the log, and so given to
// nobody.
func Conflicts(err error) bool {
	var holder *HolderError
	var uid *UIDError
	var unknown *UnknownAddressError
	return errors.As(err, &holder) || errors.As(err, &uid) || errors.As(err, &unknown)
}
