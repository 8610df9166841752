"""Errors on radio scenes, with and without each part of the method."""
