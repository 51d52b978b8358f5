"""What a run leaves: products and their records, the catalogue of all of them, and the state of the batch."""
