"""Keep the results of stages, named by everything that decides them.

A result is a folder, named by its key::

    data/GrayscaleFlat/5f0c…/grayscale.h5    a file that the stage wrote
    data/GrayscaleFlat/5f0c…/stage.json      its record: parameters, code, inputs, digests of files
    data/GrayscaleFlat/.5f0c….tmp/           a result before it is published
    data/GrayscaleFlat/.5f0c….lock           held by the process that makes it
    data/GrayscaleFlat/77aa…/remote.json     the record of a result whose files are in the remote alone
    outputs/TrainCNN/2d7a…/failed.json       the record of a failure that would happen again
    outputs/checkpoints/TrainCNN-81c2…/      checkpoints, from which a training resumes

- The **key** is the hash of the stage's name, parameters and code, and of its inputs' keys. So the path of a result is
  known before anything is computed.
- A result is **current**, and used as it is, if its files have their recorded sizes, its inputs are current, and it was
  made from their present content.
- A result of other keys is **adopted** if name, parameters, code and the content of the inputs are equal.
- A **failure** that would happen again is recorded as ``failed.json``. It counts only where a stage may fail: a sweep
  has a row for it, and any other run computes again and fails again.
- Before a stage computes, its inputs are compared with their digests, and **damaged** ones are made again. So each
  result was made from the content that its record names. Using or listing a result compares only sizes; `verification`
  compares all digests.
- A training that was interrupted, or is to run for more epochs, **resumes** from checkpoints. Their folder is named by
  everything that decides the result except the number of epochs.
- Several machines share results through a **remote**. A result that only the remote has is current by its record; its
  files are fetched when something reads them.

Read `stage`, `code` (the definitions that a stage's function reaches), `record`, `folders`, `results` and `unfinished`
(checkpoints) in this order, then `sharing` and `remote`, `reasons` and `stage_status`, `lookup` and `difference`,
`verification`, `active_runs`, `garbage`, `latest`, `failures`. Imports `web`, `progress`, `files` and `errors`.
"""
