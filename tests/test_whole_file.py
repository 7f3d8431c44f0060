import os
import stat

import pytest

from pipeline.errors import ExportError
from pipeline.files.whole_file import replacing, write_text, writing


def test_readers_find_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    with replacing(path, durable=True) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"

    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_keeps_permissions_and_is_never_more_open_than_they_are(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o600)

    with replacing(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("new")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_named_file_gets_its_folder_and_keeps_the_link_to_it(tmp_path):
    (tmp_path / "link").symlink_to("folder/file")

    write_text(tmp_path / "link", "text", ExportError)

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == "text"


def test_says_why_a_named_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ExportError, match=r"pipe is a pipe \(FIFO\); expected the name of a file"):
        write_text(tmp_path / "pipe", "text", ExportError)
    with pytest.raises(ExportError, match=r"file/below cannot be written \(Not a directory\)"):
        write_text(tmp_path / "file" / "below", "text", ExportError)
    with pytest.raises(ExportError, match=r"null.* cannot be written \(.*null"):
        write_text(tmp_path / "null\0", "text", ExportError)
    with (
        pytest.raises(ExportError, match="No such file or directory"),
        writing(tmp_path / "nowhere" / "file", ExportError, make_folder=False) as temporary,
    ):
        temporary.write_text("text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]
