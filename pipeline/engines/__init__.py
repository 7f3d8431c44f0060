"""Engines train and evaluate networks, and all take the same steps.

Read `engine` (the interface and the rules), `reference` (the rules in NumPy; only tests import it), and one of `numba`,
`triton`, `torch`, `theano`, which do not import each other: `fused` has what the first two share, `cuda` what the two
in the middle share. `devices` chooses among them by what `nvidia`, `pytorch` and `triton_needs` find on the machine;
`lease` gives a process a GPU of its own; `preparation` compiles kernels while a run makes its data, if `kernel_folder`
has none; `collector` pauses Python's garbage collector; `device_check` is the article's check of a device. Imports
`networks` and the packages below it.
"""
