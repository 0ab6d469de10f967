"""The journal of the process driver, on disk."""

import errno
import json

import pytest

from aioproviders.deployment import DeploymentStatus
from aioproviders.deployment.process.journal import Journal, new_release
from aioproviders.deployment.process.templates import Template


def release(revision):
    return new_release(revision, f"{revision}.0.0", Template(fields={"version": f"{revision}.0.0"}), None)


async def reread(folder):
    journal = Journal(folder)
    await journal.load()
    return journal


@pytest.fixture
async def journal(tmp_path):
    """A journal with two releases, the first of them healthy."""
    journal = Journal(tmp_path)
    await journal.release(release(1), replicas=2)
    await journal.outcome(1, DeploymentStatus.HEALTHY, healthy=True)
    await journal.release(release(2), replicas=3)
    return journal


async def test_what_was_written_is_read(journal, tmp_path):
    """Another journal of the same folder tells the same."""
    await journal.started(4711, 99)
    await journal.started(4712, 99)
    await journal.ended(4711)
    past = (await reread(tmp_path)).past
    assert past == journal.past
    assert (past.current, past.replicas, past.groups) == (2, 3, {4712: 99})


async def test_no_journal_is_an_empty_one(tmp_path):
    """Nothing was ever deployed."""
    past = (await reread(tmp_path)).past
    assert (past.current, past.history(10), past.next_revision) == (None, [], 1)


@pytest.mark.parametrize("cut", [1, 5, 40])
async def test_a_torn_last_line_is_passed_over(journal, tmp_path, cut):
    """What stands before it holds, and what is written after it is read."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = await reread(tmp_path)
    await again.release(release(3), replicas=1)
    past = (await reread(tmp_path)).past
    assert past == again.past
    assert past.releases[1].healthy
    assert past.current == 3


@pytest.mark.parametrize(
    "line", ["[]", "null", '{"kind": "current"}', '{"kind": "outcome", "revision": 9}', "\0"]
)
async def test_a_line_that_makes_no_sense_is_passed_over(journal, tmp_path, line):
    """The others hold."""
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write(f"{line}\n")
    assert (await reread(tmp_path)).past == journal.past


async def test_lines_of_a_later_version_are_passed_over(journal, tmp_path):
    """A kind that is not known is no reason to know nothing."""
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"kind": "moon phase", "full": true}\n')
    assert (await reread(tmp_path)).past == journal.past


async def test_old_releases_are_forgotten(tmp_path):
    """The last ones stay, and the current one wherever it is."""
    journal = Journal(tmp_path)
    for revision in range(1, 6):
        await journal.release(release(revision), replicas=1)
    await journal.current(1, replicas=1)
    await journal.forget(3)
    assert sorted(journal.past.releases) == [1, 4, 5]
    assert journal.past.next_revision == 6


async def test_a_long_journal_is_written_anew(journal, tmp_path):
    """With as few lines as tell the same, and for this user alone."""
    for pid in range(300):
        await journal.started(pid, 1)
        await journal.ended(pid)
    path = tmp_path / "journal.jsonl"
    lines = path.read_text().splitlines()
    assert len(lines) < 300
    assert all(json.loads(line) for line in lines)
    assert path.stat().st_mode & 0o077 == 0
    assert (await reread(tmp_path)).past == journal.past


async def test_nothing_is_current_any_more(journal, tmp_path):
    """When the only release was undone."""
    await journal.current(None, replicas=0)
    assert (await reread(tmp_path)).past.current_release is None


async def test_what_can_be_gone_back_to_is_never_forgotten(journal):
    """However many have failed since: the one that runs, and the last that was healthy."""
    for revision in (3, 4, 5):
        await journal.release(release(revision), replicas=3)
        await journal.forget(2, running=3)
    assert set(journal.past.releases) == {1, 3, 4, 5}


async def test_what_is_written_counts_where_it_can_not_be_made_shorter(journal, tmp_path, monkeypatch):
    """A disk that has no room for another file fails nothing that is on it."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal, "_longest", 0)
    monkeypatch.setattr(journal, "_rewrite", full)
    await journal.outcome(2, DeploymentStatus.FAILED)
    assert (await reread(tmp_path)).past.releases[2].status is DeploymentStatus.FAILED
