"""Deep semantic-visual alignment (DSVA, arXiv 2402.02094): attribute prototypes over the tokens of a transformer."""
