"""Comparisons with other packages and with published results."""
