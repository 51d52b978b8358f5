"""Two maps of one place: what changed between them. Many maps: the state of a pixel, and events."""
