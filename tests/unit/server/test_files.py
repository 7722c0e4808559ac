"""When files are taken for changed: once, after they have rested, and whatever way they were replaced."""

from __future__ import annotations

from pathlib import Path

from mosnpy.server.files import FileWatch, signatures


def watch(*paths: Path) -> FileWatch:
    return FileWatch(signatures(map(str, paths)))


def test_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    looking = watch(file)
    assert [looking.changed() for _ in range(3)] == [False] * 3


def test_a_change_is_told_once_and_after_a_rest(tmp_path: Path) -> None:
    certificate, key = tmp_path / "a.pem", tmp_path / "a.key"
    certificate.write_text("1")
    key.write_text("1")
    looking = watch(certificate, key)
    certificate.write_text("two")
    assert not looking.changed()
    key.write_text("two")
    assert not looking.changed()
    assert looking.changed()
    assert not looking.changed()


def test_links_are_followed(tmp_path: Path) -> None:
    """A mounted secret: the file is a link through a folder that is swapped."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.pem").write_text("same size")
    (tmp_path / "current").symlink_to("one")
    file = tmp_path / "a.pem"
    file.symlink_to("current/a.pem")
    looking = watch(file)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "current")
    assert [looking.changed() for _ in range(3)] == [False, True, False]


def test_a_file_that_goes_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    looking = watch(file)
    file.unlink()
    assert [looking.changed() for _ in range(3)] == [False, True, False]
    file.write_text("1")
    assert [looking.changed() for _ in range(3)] == [False, True, False]


def test_what_changed_before_the_watch_began_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    known = signatures([str(file)])
    file.write_text("22")
    looking = FileWatch(known)
    assert [looking.changed() for _ in range(3)] == [False, True, False]
