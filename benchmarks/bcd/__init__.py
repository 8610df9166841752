"""Smooth losses and block coordinate descent: benchopt problems and the speed table."""
