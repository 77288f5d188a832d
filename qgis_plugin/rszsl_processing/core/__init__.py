"""What the plugin does without QGIS: commands, events, environments. Python 3.8 or newer, standard library only."""
