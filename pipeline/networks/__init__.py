"""Declare networks, check them, keep their weights, and compute their outputs.

Read `declared`, `layers`, `declaration`, `weights`, `forward`, `first_layer`. `arrays` has the
types of arrays. Imports `files` and `errors`.
"""
