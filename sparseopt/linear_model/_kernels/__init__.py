"""Loops of the linear models that array expressions cannot say."""
