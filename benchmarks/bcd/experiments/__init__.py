"""The published curves of greedy block coordinate descent, rerun on data sets A to E."""
