"""Networks: how one is declared, and its weights.

Read `declared`, `layers`, `declaration`, `weights`. `arrays` has the types of arrays. Imports `files` and `errors`.
"""
