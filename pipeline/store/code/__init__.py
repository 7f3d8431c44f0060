"""The code of a stage: the definitions that its function can reach, each with a digest.

A definition is a function, a class, or a value at the top level of a module of this package. It is reached where a
definition that is reached uses its name, through imports and attributes of modules, at any depth. This is found in the
sources, without running anything. What the sources leave open counts in full:

- A module that is used as a value, passed on or searched by ``getattr``, counts whole, with all that it imports.
- A module may do more on import than define each of its names once. Then all that its import runs counts, in its order,
  as soon as anything reached imports it. Definitions count apart from each other where their decorators, base classes,
  defaults and values call nothing but functions of libraries that are known to change nothing, and functions of this
  package that do nothing else either: those of a decorator that compiles or caches do, those of one that keeps a list
  of what it decorates do not.
- An import by a computed name counts all modules, unless the stage names what is imported.

Comments, formatting, docstrings and the order of imports do not count, nor do the texts of errors' messages and
annotations, but for those that fields are made of and where something reached asks for annotations.

Read `scopes` (which name means what), `syntax` (what a definition says and uses), `module` (what a module defines),
`reach`, and `digests`, which the rest of the store calls.
"""
