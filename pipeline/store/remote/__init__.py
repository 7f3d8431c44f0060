"""Keep results where several machines find them: in an object store, such as S3, or a folder on a file server.

The objects are laid out as in Bazel's remote cache::

    ac/TrainCNN/81c2…       the record of a result, by its key
    failed/TrainCNN/2d7a…   the record of a failure that would happen again
    cas/5f0c…               a file, by its SHA-256
    equal/TrainCNN/93ab…    the key of a result, by its content key: it can be adopted
    runs/4d1e…              the results that a run needs; when it was written is when they were last used
    gate                    there while unused results are removed

Files are written first, and the record last, only if there is none: of several machines that make the same result, the
first one's counts. What comes from the remote is compared with digests before it is used.

Read `process` (a child process in which obstore moves bytes) and `credentials`, `objects` (the connection with it),
`use` (runs, and the gate), `checks` (of records), `shared` (records and their files), `upkeep` (verify, remove) and
`urls`. `pipeline.store.sharing` brings results from here to a machine's own folders, and back.
"""
