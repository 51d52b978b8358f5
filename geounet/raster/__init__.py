"""Scenes and what stands around them: opened, placed on the ground, told apart, and written as COGs."""
