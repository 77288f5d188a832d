"""MCFA (arXiv 2306.06066): two variational encoders whose latent spaces are aligned, and a classifier in them."""
