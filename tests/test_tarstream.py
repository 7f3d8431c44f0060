from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import tar
from pipeline.data.tar import GzippedTar
from pipeline.errors import ArchiveError
from tests import archives

FILES = {"folder/a": b"alpha" * 300, "folder/b": b"", "folder/c": bytes(range(250)) * 12}
SOUND = archives.gzipped(archives.tar(FILES.items()))


def read(data: bytes, limit: int = 10_000) -> tuple[dict[str, bytes], str]:
    archive = GzippedTar(io.BytesIO(data))
    return {member.name: bytes(archive.read(member, limit=limit)) for member in archive}, archive.sha256()


def special(kind: bytes, name: str = "folder/a", **values) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    for key, value in values.items():
        setattr(member, key, value)
    return member


class TestSoundArchives:
    def test_reads_every_file_and_the_digest(self):
        assert read(SOUND) == (FILES, hashlib.sha256(SOUND).hexdigest())

    def test_skips_what_is_not_asked_for(self):
        archive = GzippedTar(io.BytesIO(SOUND))

        contents = [archive.read(member, limit=10_000) for member in archive if member.name != "folder/a"]

        assert contents == [b"", FILES["folder/c"]]

    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_reads_what_tarfile_writes(self, form, tmp_path):
        path = tmp_path / "archive.tar.gz"
        with tarfile.open(path, "w:gz", format=form) as tar:
            for name, content in FILES.items():
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(content), 1e9 + 0.5
                tar.addfile(member, io.BytesIO(content))

        assert read(path.read_bytes())[0] == FILES

    @pytest.mark.parametrize("ending", [b"", b"\0" * 512, b"\0" * 1024, b"\0" * 10240, b"\0" * 1024 + b"rest"])
    def test_reads_a_tar_whatever_follows_it(self, ending):
        assert read(gzip.compress(archives.tar(FILES.items(), ending)))[0] == FILES

    def test_reads_several_gzip_streams_as_one(self):
        tar = archives.tar(FILES.items())
        data = gzip.compress(tar[:700]) + gzip.compress(b"") + gzip.compress(tar[700:]) + b"\0" * 600_000

        assert read(data) == (FILES, hashlib.sha256(data).hexdigest())

    def test_expects_no_content_after_links_and_folders(self):
        kinds = [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
        entries = [(special(kind, "other", size=5000), b"") for kind in kinds]
        archive = GzippedTar(io.BytesIO(archives.gzipped(archives.tar([*entries, *FILES.items()]))))

        assert [member.name for member in archive] == ["other"] * 6 + list(FILES)


class TestSpoiltArchives:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "the file is empty"),
            (b"  \n", "the file is empty"),
            (b"<!DOCTYPE html><html>", "a web page that starts with b'<!DOCTYPE html><'"),
            (b"\n\n<html>", "a web page"),
            (b"PK\x03\x04", "a zip file"),
            (bz2.compress(b"x"), "a bzip2 file"),
            (b"version https://git-lfs", "no gzip file that starts with b'version https://'"),
            (archives.tar(FILES.items()), "no gzip file that starts with b'folder/a"),
            (SOUND[:5], "cut off after 5 bytes"),
            (SOUND[:200], "cut off after 200 bytes"),
            (SOUND[:-4], "cut off"),
            (SOUND[:-8] + bytes(4) + SOUND[-4:], "damaged.*incorrect data check"),
            (SOUND[:-1] + b"\xff", "damaged.*incorrect length check"),
            (SOUND + b"more", "damaged.*incorrect header check"),
            (b"\x1f\x8b" + bytes(100), "damaged"),
            (archives.gzipped(b"no tar" * 200), "holds no sound tar"),
            (archives.gzipped(b"too short"), "holds no sound tar"),
            (archives.gzipped(archives.tar(FILES.items())[:600]), "the tar ends in the middle of 'folder/a'"),
        ],
    )
    def test_refuses(self, data, message):
        with pytest.raises(ArchiveError, match=message):
            read(data)

    @pytest.mark.parametrize(
        ("member", "message"),
        [
            (special(tarfile.SYMTYPE, linkname="/etc/passwd"), "'folder/a' is a symbolic link; expected a file"),
            (special(tarfile.LNKTYPE, linkname="folder/c"), "is a hard link"),
            (special(tarfile.CHRTYPE), "is a character device"),
            (special(tarfile.BLKTYPE), "is a block device"),
            (special(tarfile.FIFOTYPE), "is a named pipe"),
            (special(tarfile.DIRTYPE), "is a folder"),
            (special(b"V"), "is of tar's type b'V'"),
            (special(tarfile.GNUTYPE_SPARSE), "stored as a sparse file"),
            (special(tarfile.REGTYPE, "folder/GNUSparseFile.0/a"), "stored as a sparse file"),
            (special(tarfile.REGTYPE, size=10_001), "has 10,001 bytes; expected at most 10,000"),
            (special(tarfile.REGTYPE, size=1 << 60), "expected at most 10,000"),
            (special(tarfile.REGTYPE, size=-512), "has -512 bytes: the tar is damaged"),
        ],
    )
    def test_refuses_a_member_that_is_no_plain_file(self, member, message):
        with pytest.raises(ArchiveError, match=message):
            read(archives.gzipped(archives.tar([(member, b"")])))

    def test_refuses_to_skip_more_than_there_is(self):
        archive = GzippedTar(
            io.BytesIO(archives.gzipped(archives.tar([(special(tarfile.REGTYPE, size=1 << 60), b"")])))
        )

        with pytest.raises(ArchiveError, match="the tar ends in the middle of a file"):
            list(archive)

    def test_stops_at_a_bomb(self, monkeypatch):
        monkeypatch.setattr(tar, "MAX_BYTES", 1 << 20)
        bomb = gzip.compress(archives.tar(FILES.items()) + bytes(2 << 20))

        with pytest.raises(ArchiveError, match="holds more than 1 MiB"):
            read(bomb)

    def test_stops_at_too_many_members(self):
        bomb = gzip.compress(archives.tar([("folder/a", b"")], b"") * (tar.MAX_MEMBERS + 1), 1)

        with pytest.raises(ArchiveError, match="holds more than 10,000 files"):
            read(bomb)

    def test_stops_at_too_many_gzip_streams(self):
        bomb = SOUND + gzip.compress(b"") * tar.MAX_GZIP_STREAMS

        with pytest.raises(ArchiveError, match="more than 10,000 gzip files in one"):
            read(bomb)

    def test_tells_when_the_disk_cannot_be_read(self):
        message = r"cannot be read \(Input/output error\)"
        with Path("/proc/self/mem").open("rb", buffering=0) as unreadable, pytest.raises(ArchiveError, match=message):
            GzippedTar(unreadable)

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.data())
    def test_reads_or_refuses_whatever_comes(self, data):
        """Headers are spoilt with their checksum put right, so that more than the checksum is tried."""
        tar = bytearray(archives.tar(FILES.items()))
        place = data.draw(st.integers(0, 511)) + data.draw(st.sampled_from([0, 2048, 2560]))
        tar[place : place + 1] = data.draw(st.binary(min_size=1, max_size=1))
        for start in (0, 2048, 2560):
            header = tar[start : start + 512]
            checksum = 256 + sum(header[:148]) + sum(header[156:])
            if data.draw(st.booleans()):
                tar[start + 148 : start + 156] = b"%06o\0 " % checksum
        with suppress(ArchiveError):
            read(gzip.compress(bytes(tar), 1))

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.integers(0, len(SOUND) - 1), st.binary(max_size=3), st.integers(0, 3))
    def test_finds_damage_or_reads_the_same(self, place, piece, length):
        spoilt = SOUND[:place] + piece + SOUND[place + length :]
        with suppress(ArchiveError):
            assert read(spoilt)[0] == FILES
