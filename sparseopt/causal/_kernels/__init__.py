"""Compiled loops of causal structure learning."""
