"""Components to polygons: traced, joined over seams, measured, simplified, and handed out as a stream."""
