package scheduler

// DecodeArgs reads the body of filter, for benchmarks.
func DecodeArgs(body []byte) error {
	a := borrowArgs()
	defer a.giveBack()
	return a.read(body)
}
