"""The QGIS plugin, and what puts it into a profile of QGIS or into a zip."""
