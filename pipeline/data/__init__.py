"""From the archive to the grayscale data sets.

Read `archive`, `download` (and `upstream`, `transfer`, `partial_file`), `cifar` (and `tar`, `pickles`), `dataset`,
`grayscale`. `cifar_writer` and `digits` write archives in CIFAR-10's layout. Imports `networks.arrays`, `web`,
`progress`, `files` and `errors`.
"""
