"""The files in which people say what a scheduled job does."""
