"""The ``theano`` engine: the article's own libraries, in an environment and a child process of their own.

Read `engine`, `child_process` (starts the child and talks to it), `child` (runs in it), `flags` (the user's own),
`environment` and `setup` (builds it). Imports `engines.engine`, `networks`, `files` and `errors`.
"""
