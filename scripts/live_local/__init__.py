"""Three AWS accounts on this machine, emulated, for the tree in `live/` as it stands."""
