"""Loops of the transformers that array expressions cannot say."""
