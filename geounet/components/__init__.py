"""Connected components over tiles: labelled, joined, cleaned and told apart as in the whole raster."""
