"""How well a map agrees with a reference: pixels, outlines, areas, objects and seams."""
