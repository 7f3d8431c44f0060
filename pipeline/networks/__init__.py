"""Networks: how one is declared, and its weights.

Read `declared`, `layers`, `declaration`, `weights`. `arrays` allocates aligned arrays. Imports `files` and `errors`.
"""
