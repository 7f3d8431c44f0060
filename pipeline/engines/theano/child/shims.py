"""What Theano, Lasagne and nolearn need to run on a Python and a NumPy that came after them."""

from __future__ import annotations

import collections
import collections.abc
import importlib
import importlib.util
import os
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any


def apply() -> None:
    """Mend what has to be mended before Lasagne and nolearn are imported."""
    give_theano_a_blas()
    let_modules_find_python()
    restore_collections()
    keep_compiled_modules()
    share_compiled_modules()
    restore_downsample()
    restore_cross_validation()


def openblas() -> Path | None:
    """Return the OpenBLAS in SciPy's wheel, where there is one.

    NumPy's wheel has one too, but with 64-bit integers and names to match (``sgemm_64_``) that Theano does
    not know.
    """
    scipy = importlib.util.find_spec("scipy")
    site_packages = Path(scipy.origin).parents[1] if scipy and scipy.origin else Path()
    return next(site_packages.glob("scipy.libs/libopenblas*.so"), None)


def give_theano_a_blas() -> None:
    """Name the BLAS that Theano links with, unless the user's flags name one.

    Theano would ask ``numpy.distutils`` for NumPy's ``blas_opt_info``, which wheels of NumPy lack, and end
    in an AttributeError. Without any BLAS the convolutional network takes three times as long.
    """
    library = openblas()
    if library is None:
        add_flag("blas.ldflags=")
        return
    add_flag("blas.ldflags=-l" + library.stem[len("lib") :])
    # not as -L in the flag, which Theano splits at spaces
    os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(library.parent), os.environ.get("LIBRARY_PATH")]))
    # loads the library, and what it depends on: modules linked with it find it loaded, wherever the project moves
    importlib.import_module("scipy.linalg")


def add_flag(flag: str) -> None:
    """Add a flag that yields to the user's own: of two values for one flag Theano takes the last."""
    os.environ["THEANO_FLAGS"] = ",".join(filter(None, [flag, os.environ.get("THEANO_FLAGS")]))


def let_modules_find_python() -> None:
    """Have compiled modules look for Python's library where it is.

    Theano links each with it, by ``-L`` alone, which fails at load time where Python is in no standard folder.
    """
    stdlib = Path(sysconfig.get_path("stdlib"))
    os.environ["LD_RUN_PATH"] = os.pathsep.join([sysconfig.get_config_var("LIBDIR") or "", str(stdlib.parent)])


def restore_collections() -> None:
    """Put ``Iterable`` back: Python 3.10 left it in ``collections.abc`` alone, nolearn 0.6.1 looks here."""
    collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]


class NoProperties(tuple[()]):
    """The properties of an operation that has none, as `keep_compiled_modules` needs them."""

    def __bool__(self) -> bool:
        return True


def keep_compiled_modules() -> None:
    """Let the compile cache keep matrix products and softmax, which take half of all the compiling.

    The key of a module holds the properties of its operations. Theano 1.0.5 takes ``()`` there, as of an
    operation that has none, for one without a version and compiles it anew in each process.
    """
    import theano

    waiting = [theano.Op]
    while waiting:
        operation = waiting.pop()
        waiting += operation.__subclasses__()
        if operation.__dict__.get("__props__") == ():
            operation.__props__ = NoProperties()


def share_compiled_modules() -> None:
    """Let a process find that another one compiled the same module at the same time.

    Theano reads the other's list of what the module is good for, and asserts that what it looked for is not there.
    """
    key_data = importlib.import_module("theano.gof.cmodule").KeyData
    add_key = key_data.add_key

    def add_new_key(self: Any, key: Any, save_pkl: bool = True) -> None:
        if key not in self.keys:
            add_key(self, key, save_pkl)

    key_data.add_key = add_new_key


def restore_downsample() -> None:
    """Put ``theano.tensor.signal.downsample`` back: Theano 1.0 renamed it ``pool``, Lasagne 0.1 did not."""
    from theano.tensor.signal import pool

    def max_pool_2d(images: Any, *, ds: Any, st: Any, ignore_border: bool, padding: Any, mode: str = "max") -> Any:
        return pool.pool_2d(images, ws=ds, ignore_border=ignore_border, stride=st, pad=padding, mode=mode)

    downsample = types.ModuleType("theano.tensor.signal.downsample")
    downsample.max_pool_2d = max_pool_2d  # type: ignore[attr-defined]
    _install(downsample)


def restore_cross_validation() -> None:
    """Put ``sklearn.cross_validation`` back, removed in scikit-learn 0.20, with its old form of call.

    The old ``StratifiedKFold(y, n)`` is itself the sequence of splits; the new one gives them by ``split``.
    nolearn's ``TrainSplit`` relies on the old one.
    """
    import numpy as np
    from sklearn import model_selection

    def k_fold(n: int, n_folds: int = 3) -> Any:
        return model_selection.KFold(n_folds).split(np.empty(n))

    def stratified_k_fold(y: Any, n_folds: int = 3) -> Any:
        return model_selection.StratifiedKFold(n_folds).split(np.empty(len(y)), y)

    cross_validation = types.ModuleType("sklearn.cross_validation")
    cross_validation.KFold = k_fold  # type: ignore[attr-defined]
    cross_validation.StratifiedKFold = stratified_k_fold  # type: ignore[attr-defined]
    _install(cross_validation)


def _install(module: types.ModuleType) -> None:
    parent, name = module.__name__.rsplit(".", 1)
    sys.modules[module.__name__] = module
    setattr(sys.modules[parent], name, module)
