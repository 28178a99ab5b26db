"""Our speed against the reference libraries', on the same network in the same process."""
