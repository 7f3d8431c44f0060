"""Find the definitions that a stage's function can reach, and digest each of them.

A definition is a function, a class or an assignment at the top level of a module of this package. The analysis reads
the sources without running them. It follows every reference, at any depth, through imports and attributes::

    SCALE = 2.5                                       # reachable: `area` refers to it
    def area(radius): return SCALE * radius**2        # reachable: `run` refers to it
    def perimeter(radius): return 2 * SCALE * radius  # not reachable: an edit of it keeps all results
    def run(radius): return area(radius)              # the stage's function

Three cautious rules apply where the sources leave open which definitions the stage uses:

- A module used as a value, for example an argument of ``getattr``, counts whole, with all that it imports and the data
  files beside it.
- A module whose import may have side effects, for example registers functions in a dict, counts with all code that the
  import runs, in its order, as soon as reachable code imports it.
- An import by a computed name counts all modules, unless the stage names the imported definitions.

Ignored are comments, formatting, docstrings, the order of imports and the messages of exceptions. Annotations are
ignored unless they make a dataclass's fields, or reachable code reads annotations.

Read `scopes` (targets of names), `syntax` (references in syntax trees), `module` (definitions of a module), `reach`
(reachable definitions), `digests` (the interface to the rest of the store).
"""
