"""Patches with which Theano, Lasagne and nolearn run on a Python and a NumPy that are newer than they are."""

from __future__ import annotations

import collections
import collections.abc
import importlib
import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

STREAMS = re.compile(r"\b(cin|cout|cerr|clog|endl|\w*stream)\b")
"""What a module of C++ names if it needs ``<iostream>``."""


def apply() -> None:
    """Apply all patches; Lasagne and nolearn must be imported later."""
    give_theano_a_blas()
    let_modules_find_python()
    restore_collections()
    keep_compiled_modules()
    share_compiled_modules()
    compile_less()
    restore_downsample()
    restore_cross_validation()


def give_theano_a_blas() -> None:
    """Link Theano with the OpenBLAS in SciPy's wheel, unless the user's flags name another BLAS.

    Theano would look for NumPy's ``blas_opt_info``, which NumPy's wheels lack, and raise an AttributeError. Without a
    BLAS the convolutional network takes three times as long. The OpenBLAS in NumPy's wheel has 64-bit integers and
    other names (``sgemm_64_``), which Theano does not know.
    """
    # This loads the library and its dependencies, so compiled modules find it even after the project has moved.
    linalg = importlib.import_module("scipy.linalg")
    library = next(Path(str(linalg.__file__)).parents[2].glob("scipy.libs/libopenblas*.so"), None)
    link = f"-l{library.stem[len('lib') :]}" if library else ""
    # Of two values for one flag Theano takes the last, so the user's own follow.
    os.environ["THEANO_FLAGS"] = f"blas.ldflags={link},{os.environ['THEANO_FLAGS']}"
    if library:
        # The flag cannot hold -L with the folder: Theano splits it at spaces.
        folders = [str(library.parent), os.environ.get("LIBRARY_PATH")]
        os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))


def let_modules_find_python() -> None:
    """Give compiled modules the folder of Python's library.

    Theano links them with ``-L`` alone, and loading them fails if Python is in no standard folder.
    """
    stdlib = Path(sysconfig.get_path("stdlib"))
    os.environ["LD_RUN_PATH"] = os.pathsep.join([sysconfig.get_config_var("LIBDIR") or "", str(stdlib.parent)])


def restore_collections() -> None:
    """Restore ``collections.Iterable`` for nolearn 0.6.1; Python 3.10 removed it."""
    collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]


class NoProperties(tuple[()]):
    """An empty tuple that is true; see `keep_compiled_modules`."""

    def __bool__(self) -> bool:
        return True


def keep_compiled_modules() -> None:
    """Make the compile cache keep matrix products and softmax, which take half of the time to compile.

    The key of a compiled module holds the properties of its operations. Theano 1.0.5 takes ``()``, the properties of an
    operation that has none, for a missing version, and compiles the operation again in each process.
    """
    import theano

    waiting = [theano.Op]
    while waiting:
        operation = waiting.pop()
        waiting += operation.__subclasses__()
        if operation.__dict__.get("__props__") == ():
            operation.__props__ = NoProperties()


def share_compiled_modules() -> None:
    """Accept a module that another process has compiled at the same time.

    Theano reads the other process's keys of the module and asserts that its own key is not among them.
    """
    key_data = importlib.import_module("theano.gof.cmodule").KeyData
    add_key = key_data.add_key

    def add_new_key(self: Any, key: Any, save_pkl: bool = True) -> None:
        if key not in self.keys:
            add_key(self, key, save_pkl)

    key_data.add_key = add_new_key


def compile_less() -> None:
    """Compile modules without debugging information, and without the streams of C++ where they have none.

    Each module includes ``<iostream>``, and one in thirteen uses it. Together this is a quarter of the time to compile.
    """
    compiler = importlib.import_module("theano.gof.cmodule").GCC_compiler
    compile_all = compiler.compile_str

    def compile_str(module_name: str, src_code: str, **options: Any) -> Any:
        without = src_code.replace("#include <iostream>\n", "")
        if not STREAMS.search(without):
            src_code = without
        # The user's own flags follow, and of several -g the last counts.
        options["preargs"] = ["-g0", *(options.get("preargs") or ())]
        return compile_all(module_name, src_code, **options)

    compiler.compile_str = staticmethod(compile_str)


def restore_downsample() -> None:
    """Restore ``downsample.max_pool_2d`` in ``theano.tensor.signal`` for Lasagne 0.1; now it is ``pool.pool_2d``."""
    from theano.tensor.signal import pool

    pool.max_pool_2d = pool.pool_2d  # it still takes the old names of the parameters
    sys.modules["theano.tensor.signal.downsample"] = pool


def restore_cross_validation() -> None:
    """Restore ``sklearn.cross_validation`` for nolearn, which only imports it; scikit-learn 0.20 renamed it."""
    from sklearn import model_selection

    sys.modules["sklearn.cross_validation"] = model_selection
