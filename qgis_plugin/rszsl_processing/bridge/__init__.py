"""Between the plugin's own logic and QGIS: settings, running, sources, results."""
