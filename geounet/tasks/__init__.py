"""What a user asks for: one module a command, under its name, with one public function."""
