"""Ways to name scenes: several rasters as one, STAC items."""
