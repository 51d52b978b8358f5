"""Networks, their losses, their receptive field, and the file that holds them."""
