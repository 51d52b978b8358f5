"""Run by the Python of QGIS: open a file as a user would, and print what there is to see, as JSON.

    python3 looking.py FILE PICTURE [X Y]...

FILE is a project, a raster, a polygon file, or vector tiles. Printed are layers with their legends, the view, and the
colours of the picture at the given places, in the coordinates of the map.
"""

import json
import sys

from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
    QgsVectorTileLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def opened(name):
    """The layers of a project or a file, from top to bottom; the extent and the CRS that are seen first."""
    project = QgsProject.instance()
    if name.endswith(".qgz"):
        assert project.read(name), project.error()
        layers = [node.layer() for node in project.layerTreeRoot().findLayers()]
        shown = [node.layer() for node in project.layerTreeRoot().findLayers() if node.isVisible()]
        return layers, shown, project.viewSettings().defaultViewExtent(), project.crs()
    if name.endswith(".mbtiles:vector"):
        path = name.removesuffix(":vector")
        layer = QgsVectorTileLayer(f"type=mbtiles&url={path}", "tiles")
    elif name.startswith("GPKG:") or name.endswith((".tif", ".mbtiles")):
        layer = QgsRasterLayer(name, "raster", "gdal")
    else:
        layer = QgsVectorLayer(name, "polygons", "ogr")
    crs = layer.crs() if layer.crs().isValid() else QgsCoordinateReferenceSystem("EPSG:3857")
    return [layer], [layer], layer.extent(), crs


def legend(layer):
    """Labels and colours of the classes."""
    if isinstance(layer, QgsRasterLayer):
        renderer = layer.renderer()
        if renderer.type() != "paletted":
            return renderer.type()
        return [[entry.label, entry.color.name(), int(entry.value)] for entry in renderer.classes()]
    if isinstance(layer, QgsVectorLayer):
        renderer = layer.renderer()
        if renderer.type() != "categorizedSymbol":
            return renderer.type()
        return [[item.label(), item.symbol().color().name(), int(item.value())] for item in renderer.categories()]
    return None


def draw(layers, extent, crs, picture, places):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setExtent(extent)
    settings.setDestinationCrs(crs)
    settings.setOutputSize(QSize(900, 700))
    settings.setBackgroundColor(QColor(255, 255, 255))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    image.save(picture)
    at = settings.mapToPixel()
    points = [at.transform(QgsPointXY(x, y)) for x, y in places]
    return [QColor(image.pixel(int(point.x()), int(point.y()))).name() for point in points]


def main():
    name, picture, *numbers = sys.argv[1:]
    places = list(zip(map(float, numbers[::2]), map(float, numbers[1::2])))
    application = QgsApplication([], False)
    application.initQgis()
    layers, shown, extent, crs = opened(name)
    told = {
        "layers": [
            {
                "name": layer.name(),
                "valid": layer.isValid(),
                "crs": layer.crs().authid(),
                "shown": layer in shown,
                "legend": legend(layer),
                "features": layer.featureCount() if isinstance(layer, QgsVectorLayer) else None,
                "source": layer.source(),
            }
            for layer in layers
        ],
        "groups": [group.name() for group in QgsProject.instance().layerTreeRoot().findGroups()],
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "crs": crs.authid(),
        "colors": draw(shown, extent, crs, picture, places),
    }
    print(json.dumps(told))


main()
