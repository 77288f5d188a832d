"""The zero-shot science behind the models: data and splits, class rows, methods, fair comparison.

DSVA (arXiv 2402.02094) and MCFA (arXiv 2306.06066) beside the baselines that a reviewer asks for.
"""
