"""Compiled loops of entropic optimal transport, one module a device."""
