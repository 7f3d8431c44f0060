"""The program that the Theano engine runs as a child process, in `.venv-theano`.

It runs on Python 3.9 to 3.11 and imports nothing of the rest of `pipeline`, which needs a later one.
"""
