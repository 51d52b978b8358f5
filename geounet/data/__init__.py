"""What networks learn from and see: scenes with labels, in pairs and parts, as torchgeo datasets and samplers."""
