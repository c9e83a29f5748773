package allocator

import "errors"

// GivesOut reports whether a command may give somebody an address that looks free.
func GivesOut(command Command) bool {
	switch command.(type) {
	case Bind, Claim, Reserve, SizePool:
		return true
	default:
		return false
	}
}

// Conflicts reports whether an error says that an address is held for somebody else: known to the log, and so given to nobody.
func Conflicts(err error) bool {
	var holder *HolderError
	var uid *UIDError
	var unknown *UnknownAddressError
	return errors.As(err, &holder) || errors.As(err, &uid) || errors.As(err, &unknown)
}
