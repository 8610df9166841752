"""The loops of sparse Bayesian learning that array expressions cannot say."""
