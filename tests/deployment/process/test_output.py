"""What a replica writes is kept, rotated, read again and followed."""

from aioproviders.deployment.process import logs
from aioproviders.deployment.process.output import ReplicaOutput, log_path, read_tail


def texts(lines):
    return [line.text for line in lines]


def test_lines_are_kept_with_time_and_stream(tmp_path):
    """In memory and on disk alike; a line in pieces is one line."""
    output = ReplicaOutput(tmp_path / "logs", "shop-1", 10_000, 1)
    output.write("stdout", b"one\ntw")
    output.write("stderr", b"oops\r\n")
    output.write("stdout", b"o\nrest")
    assert texts(output.tail(10)) == ["one", "oops", "two"]
    output.close()
    assert texts(output.tail(2)) == ["two", "rest"]
    assert read_tail(tmp_path / "logs", "shop-1", 10) == output.tail(10)
    assert [line.stream for line in output.tail(10)] == ["stdout", "stderr", "stdout", "stdout"]
    assert output.tail(0) == []


def test_files_are_for_this_user_alone(tmp_path):
    """Logs may hold anything."""
    output = ReplicaOutput(tmp_path / "logs", "shop-1", 10_000, 1)
    output.write("stdout", b"one\n")
    output.close()
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert log_path(tmp_path / "logs", "shop-1").stat().st_mode & 0o777 == 0o600


def test_files_are_rotated(tmp_path):
    """None is longer than it may be; the oldest lines go."""
    output = ReplicaOutput(tmp_path, "shop-1", 500, 2)
    for number in range(100):
        output.write("stdout", f"line {number}\n".encode())
    output.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["shop-1.log", "shop-1.log.1", "shop-1.log.2"]
    assert all(file.stat().st_size <= 500 for file in files)
    kept = texts(read_tail(tmp_path, "shop-1", 1000))
    assert kept == [f"line {number}" for number in range(100 - len(kept), 100)]
    assert len(kept) > 20
    assert texts(read_tail(tmp_path, "shop-1", 15)) == kept[-15:]


def test_a_log_that_is_just_being_rotated(tmp_path):
    """Between the two steps of that there is no current file; the lines before are read all the same."""
    output = ReplicaOutput(tmp_path, "shop-1", 10_000, 1)
    output.write("stdout", b"one\n")
    output.close()
    log_path(tmp_path, "shop-1").rename(tmp_path / "shop-1.log.1")
    assert texts(read_tail(tmp_path, "shop-1", 10)) == ["one"]


def test_no_backups(tmp_path):
    """Then what is rotated is gone."""
    output = ReplicaOutput(tmp_path, "shop-1", 200, 0)
    for number in range(50):
        output.write("stdout", f"line {number}\n".encode())
    output.close()
    assert [file.name for file in tmp_path.iterdir()] == ["shop-1.log"]


def test_another_start_goes_on_with_the_file(tmp_path):
    """The output of all starts of a replica is one log."""
    for text in (b"first\n", b"second\n"):
        output = ReplicaOutput(tmp_path, "shop-1", 10_000, 1)
        output.write("stdout", text)
        output.close()
    assert texts(read_tail(tmp_path, "shop-1", 10)) == ["first", "second"]


def test_a_line_without_end_is_cut(tmp_path):
    """Memory is not for as much as a replica cares to write."""
    output = ReplicaOutput(tmp_path, "shop-1", 10_000_000, 1)
    output.write("stdout", b"x" * 200_000)
    output.close()
    assert [len(text) for text in texts(output.tail(10))] == [65_536, 65_536, 65_536, 3392]


def test_what_can_not_be_written_is_still_at_hand(tmp_path):
    """A log folder that can't be made ends nothing."""
    (tmp_path / "file").touch()
    output = ReplicaOutput(tmp_path / "file" / "logs", "shop-1", 10_000, 1)
    output.write("stdout", b"one\n")
    output.close()
    assert texts(output.tail(1)) == ["one"]
    assert read_tail(tmp_path, "shop-1", 10) == []


def test_what_is_no_record_is_told_as_it_is(tmp_path):
    """Somebody may have written into the file."""
    log_path(tmp_path, "shop-1").write_text("by hand, so there\n")
    assert texts(read_tail(tmp_path, "shop-1", 10)) == ["by hand, so there"]


def test_each_line_is_told(tmp_path):
    """As it comes, and what is unfinished at the end."""
    told = []
    output = ReplicaOutput(tmp_path, "shop-1", 10_000, 1, told.append)
    output.write("stdout", b"one\ntwo\nthr")
    assert texts(told) == ["one", "two"]
    output.close()
    assert texts(told) == ["one", "two", "thr"]


def test_a_line_is_read_back_as_it_was(tmp_path):
    """What moves a cursor or a page is no line's end, and a blank line is a line."""
    output = ReplicaOutput(tmp_path, "shop-1", 10_000, 1)
    output.write("stdout", "10%\r20%\nform\x0cfeed\u2028\n\nlast\n".encode())
    output.close()
    assert texts(output.tail(10)) == ["10%\r20%", "form\x0cfeed\u2028", "", "last"]
    assert read_tail(tmp_path, "shop-1", 10) == output.tail(10)


def test_a_long_line_with_an_end_is_cut(tmp_path):
    """It makes no difference to memory whether its end comes at once."""
    output = ReplicaOutput(tmp_path, "shop-1", 10_000_000, 1)
    output.write("stdout", b"x" * 65_536 + b"\n" + b"y" * 100_000 + b"\n")
    output.close()
    assert [len(text) for text in texts(output.tail(10))] == [65_536, 65_536, 34_464]


async def test_who_does_not_read_on_does_not_fill_the_memory(tmp_path, monkeypatch):
    """So many lines wait for a follower, and no more."""
    monkeypatch.setattr(logs, "_MOST_WAITING", 3)
    hub = logs.LogHub()
    output = ReplicaOutput(tmp_path / "logs", "shop-1-0", 10_000, 1, hub.give)
    output.write("stdout", b"first\n")
    stream = hub.follow(tmp_path, None, 1)
    assert (await anext(stream)).text == "first"
    output.write("stdout", b"a\nb\nc\nd\ne\n")
    output.close()
    hub.close()
    assert texts([line async for line in stream]) == ["a", "b", "c"]
