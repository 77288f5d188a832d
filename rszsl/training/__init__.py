"""Training of the bundled model: data, teacher, text side, DSVA, calibration.

Needs the extra `rszsl[train]`. Nothing at run time imports this package.
"""
