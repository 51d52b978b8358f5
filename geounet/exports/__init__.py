"""Maps and polygons into what others work with: polygon files, databases, tiles, QGIS."""
