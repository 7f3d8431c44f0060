"""Declare networks, check them, and keep their weights.

Read `declared`, `layers`, `declaration`, `weights`. `arrays` has the types of arrays. Imports `files` and `errors`.
"""
