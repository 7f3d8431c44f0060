"""Read files without trusting them, replace them as a whole, and lock them between processes.

Read `whole_file`, `locks` and `hdf5` first. `digests`, `json_cache` and `remembered_digests` build on each other;
`file_kind`, `system_text` and `loaded_sources` stand alone. Imports `errors`.
"""
