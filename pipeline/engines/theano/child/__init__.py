"""The program that the child process runs, on Python 3.9 to 3.11 in ``.venv-theano``.

Read `process`, `messages`, `network` (the article's code), `shims`. Imports nothing else of `pipeline`, which
needs a newer Python.
"""
