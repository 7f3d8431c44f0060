"""Results of stages: kept by what decides them, published whole or not at all, used again.

A result is a folder, named by its key::

    data/GrayscaleFlat/5f0c…/grayscale.h5    what the stage wrote
    data/GrayscaleFlat/5f0c…/stage.json      its record: what went into it, what came out
    data/GrayscaleFlat/.5f0c….tmp/           a result in the making
    data/GrayscaleFlat/.5f0c….lock           held by the process that makes it
    outputs/checkpoints/TrainCNN-81c2…/      what a training that is broken off goes on from

**Key.** The hash of the stage's name, its parameters, its code, and the keys of its inputs. So the path
of a result is known before anything is computed.

**Current.** A result is used as it is when its files are there with their recorded sizes, its inputs
are current, and it was made from the content that they have now.

**Undamaged.** Using a result takes a look at sizes; damage that leaves them as they were is for `verification` to find.
But nothing is made from it: before a stage computes, the digests of its inputs are compared, unless the same run has
just made them, and an input that is damaged is made again first. So what there is was made from what its record says,
and is good, whatever befell its inputs afterwards. A result is likewise compared before it is adopted.

**Adopted.** Before a stage computes, it looks for a result with the same name, parameters and code that
was made from inputs of the same content under other keys, and takes that result's files over.

**Gone on from.** A stage that was broken off, or that is to go further than before, finds what its function
kept on the way. That folder is named by all that decides a result but how far the stage goes.

Read `stage` (what decides a result), `fingerprint` (its code), `record` (what is written beside it), `inputs` (what
it is made from) and `results` (using, adopting, computing, publishing), in this order. The others look after results:
`reasons`, `status`, `history`, `changes`, `verification`, `garbage`; or serve these: `checkpoints`, `failures`,
`locks`, `runs`, `removal`, `digests`, `remembered`, `json_cache`.
"""
