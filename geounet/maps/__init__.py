"""Many products as one map: a grid for all of them, each of their pixels on it, and one class where they overlap."""
