"""Compiled loops of the semi-supervised estimators."""
