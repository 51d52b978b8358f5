"""What a job tells people and machines: rules for what is worth telling, and each of it delivered once."""
