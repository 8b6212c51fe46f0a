"""A second process with mounts of its own, cut off from ours: noticed, and mended where it can be.

In a box, because mounts are made; each test is a script there, in which `engine` is that process.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.images import PROJECT
from tests.lab.namespace import Failed, Namespace

pytestmark = pytest.mark.lab

PRELUDE = """
import subprocess, sys, time
from pathlib import Path
from backends.errors import HostError
from backends.host import mountinfo
from backends.host.outside import Outside

home = Path(sys.argv[1])
mounts = home / "mounts"
mounts.mkdir()

def sh(*words):
    subprocess.run([str(word) for word in words], check=True)

def engine(propagation):
    words = ["unshare", "-m", "--propagation", propagation, "sh", "-c", "echo; exec sleep 1000"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    return process.pid

def volume(name):
    (mounts / name).mkdir()
    sh("mount", "-t", "tmpfs", name, mounts / name)
    return mounts / name

def seen(pid, path):
    return [m.source for m in mountinfo.parse(Path(f"/proc/{pid}/mountinfo").read_bytes())
            if m.point == str(path)]
"""


@pytest.fixture
def box() -> Iterator[Namespace]:
    made = Namespace("outside")
    yield made
    made.close()


def script(box: Namespace, home: Path, text: str) -> None:
    argv = [sys.executable, "-c", PRELUDE + text, str(home)]
    box.run(["env", f"PYTHONPATH={PROJECT}", *argv])


def test_what_is_shared_is_seen(box: Namespace, tmp_path: Path) -> None:
    text = """
pid = engine("slave")
Outside(mounts).must_see(volume("one"), pid)
assert seen(pid, mounts / "one") == ["one"]
"""
    script(box, tmp_path, text)


def test_a_plugin_s_lost_mount_is_mended(box: Namespace, tmp_path: Path) -> None:
    """As after the engine unmounted the propagated mount that it had just made."""
    text = """
sh("mount", "--bind", mounts, mounts)
sh("mount", "--make-shared", mounts)
pid = engine("private")
sh("nsenter", "-t", pid, "-m", "umount", mounts)
early = volume("early")
eyes = Outside(mounts)
eyes.must_see(volume("one"), pid)
assert seen(pid, mounts / "early") == ["early"]
assert seen(pid, mounts / "one") == ["one"]
volume("late")
assert seen(pid, mounts / "late") == ["late"], "what is mounted later must reach it too"
eyes.must_see(mounts / "late", pid)
assert len(seen(pid, mounts)) == 1, "mended once"
"""
    script(box, tmp_path, text)


def test_a_service_cut_off_is_told_so(box: Namespace, tmp_path: Path) -> None:
    text = """
pid = engine("private")
Outside(mounts).must_see(volume("one"), pid)
"""
    with pytest.raises(Failed, match=r"HostError: .*/mounts/one is mounted, but the engine"):
        script(box, tmp_path, text)


def test_another_volume_at_the_place_is_not_taken_for_it(box: Namespace, tmp_path: Path) -> None:
    text = """
pid = engine("private")
target = volume("one")
sh("nsenter", "-t", pid, "-m", "mount", "-t", "tmpfs", "other", target)
Outside(mounts).must_see(target, pid)
"""
    with pytest.raises(Failed, match="does not see it"):
        script(box, tmp_path, text)
