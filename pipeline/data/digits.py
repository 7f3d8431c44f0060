"""Write the demo's data: scikit-learn's handwritten digits, as an archive in CIFAR-10's layout.

They are 1,797 images of 8 x 8 pixels in 17 shades, the test set of the UCI ML repository's "Optical
Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998). scikit-learn contains them, so the whole
pipeline can run on real images without a network. ``python -m pipeline.data.digits PATH`` writes the archive.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pipeline.data import cifar_writer
from pipeline.data.cifar import BATCHES
from pipeline.errors import ArchiveError, PipelineError
from pipeline.networks.arrays import ByteArray

CLASS_NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
BATCH_SIZE = 299
"""Six batches of this size hold 1,794 of the 1,797 images."""


def write_archive(path: Path) -> None:
    """Write the first 1,794 digits, in scikit-learn's order, as six batches.

    Each pixel becomes 4 x 4 equal pixels, so that an image has CIFAR-10's size. The 17 shades become values from 0 (the
    paper) to 255 (the ink), the same in red, green and blue.

    Raises
    ------
    ArchiveError
        scikit-learn is not installed, or the file cannot be written.
    """
    images, labels = _load()
    batches = [slice(start, start + BATCH_SIZE) for start in range(0, len(BATCHES) * BATCH_SIZE, BATCH_SIZE)]
    cifar_writer.write_batches(path, [(images[rows], labels[rows]) for rows in batches], CLASS_NAMES)


def _load() -> tuple[ByteArray, ByteArray]:
    """Return the digits as images (1797, 3, 32, 32) and labels (1797,)."""
    try:
        from sklearn.datasets import load_digits  # only the demo needs it
    except ImportError:
        raise ArchiveError(
            "the demo's digits come with scikit-learn, which is not installed. Type `pip install scikit-learn`."
        ) from None
    digits = load_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # the shades are numbers from 0 to 16
    large = gray.repeat(4, axis=1).repeat(4, axis=2)  # from 8 x 8 pixels to CIFAR-10's 32 x 32
    return large[:, None].repeat(3, axis=1), digits.target.astype(np.uint8)


def main() -> None:
    """Write the archive to the path that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("expected one path, such as in `python -m pipeline.data.digits digits.tar.gz`")
    try:
        write_archive(Path(sys.argv[1]))
    except PipelineError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{sys.argv[1]}: {6 * BATCH_SIZE:,} digits in 6 batches of {BATCH_SIZE}\n")


if __name__ == "__main__":
    main()
