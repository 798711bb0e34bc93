package hooks

// ReadIntents returns what is recorded in a run directory, as Store.Load does,
// and changes nothing there: for those who only look.
func ReadIntents(dir string) (Intents, error) {
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	return (&Store{dir: dir, boot: boot}).Load()
}
