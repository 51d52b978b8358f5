"""The command line: each command parses, calls one library function, shows what came of it, and exits."""
