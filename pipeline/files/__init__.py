"""Read files without trusting them, replace them as a whole, and lock them between processes.

Read `whole_file`, `locks` and `hdf5` first. `json_cache` builds on `digests`; `paths` and `loaded_sources` stand alone.
Imports `errors`.
"""
