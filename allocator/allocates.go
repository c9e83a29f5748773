package allocator

import "errors"

// Each command says by itself whether it may give somebody an address that looks free, so that a new one cannot pass a gate unnoticed.

func (Attach) Allocates() bool   { return true }
func (Bind) Allocates() bool     { return true }
func (Claim) Allocates() bool    { return true }
func (Reserve) Allocates() bool  { return true }
func (SizePool) Allocates() bool { return true }

// These take nothing that looks free: Adopt and Import record what is in use already.

func (Adopt) Allocates() bool            { return false }
func (ChangeWorkload) Allocates() bool   { return false }
func (Configure) Allocates() bool        { return false }
func (ConfigureOverlay) Allocates() bool { return false }
func (DeletePool) Allocates() bool       { return false }
func (Detach) Allocates() bool           { return false }
func (EndPod) Allocates() bool           { return false }
func (Expire) Allocates() bool           { return false }
func (FindFormer) Allocates() bool       { return false }
func (Import) Allocates() bool           { return false }
func (JoinNode) Allocates() bool         { return false }
func (LoseNode) Allocates() bool         { return false }
func (MarkAdopted) Allocates() bool      { return false }
func (MarkAssigned) Allocates() bool     { return false }
func (MarkUnassigned) Allocates() bool   { return false }
func (Release) Allocates() bool          { return false }
func (ReleaseNode) Allocates() bool      { return false }
func (ResolveFormer) Allocates() bool    { return false }

// Conflicts reports whether an error says that an address is held for somebody else: known to the log, and so given to nobody.
func Conflicts(err error) bool {
	var holder *HolderError
	var uid *UIDError
	var unknown *UnknownAddressError
	return errors.As(err, &holder) || errors.As(err, &uid) || errors.As(err, &unknown)
}
