"""The commands that need no sweep: to begin one, to choose, to look after storage and machine."""
