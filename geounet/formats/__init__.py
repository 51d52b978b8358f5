"""How polygons stand in files: one module a format, fed with one batch after another."""
