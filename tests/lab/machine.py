"""A machine with a kernel and a memory of its own (QEMU, emulated), whose power a test may cut.

It sees this machine's files read-only below a layer of its own memory, one disk of its own at
`/data`, which outlives its power, and this machine's loopback as 10.0.2.2. What it prints arrives
line by line. It needs qemu-system-x86 and a Debian kernel package, unpacked and never installed.
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
HOST = "10.0.2.2"
"""Where the machine finds what listens on this machine's loopback."""

OFF = "(it is off)"

MODULES = "virtio_pci 9pnet_virtio 9p virtio_blk virtio_net overlay crc32c_generic ext4 fuse loop"
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for module in {modules}; do modprobe $module || echo "no $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /below
mount -t tmpfs t /above; mkdir /above/files /above/work
mount -t overlay o -o lowerdir=/below,upperdir=/above/files,workdir=/above/work /new
mount -t proc p /new/proc; mount -t sysfs s /new/sys; mount -t devtmpfs d /new/dev
mount -t tmpfs r /new/run; mkdir -p /new/dev/shm /new/data
mount -t ext4 /dev/vda /new/data || echo "the disk cannot be mounted"
ifconfig lo 127.0.0.1 up; ifconfig eth0 10.0.2.15 up
chroot /new /bin/sh -c 'cd "$0" && exec "$@"' {root} {python} -m {program} 2>&1
echo "ENDED $?"
poweroff -f
"""


class Kernel:
    """A kernel and the modules that a machine needs, unpacked at a place."""

    def __init__(self, place: Path) -> None:
        self.place = place
        depends = _run("apt-cache", "depends", "linux-image-amd64")
        found = re.search(r"Depends: (linux-image-\S+)", depends)
        assert found, f"Debian names no kernel: {depends}"
        _run("apt-get", "download", "-q", found[1], cwd=place)
        (package,) = place.glob("linux-image-*.deb")
        _run("dpkg-deb", "-x", str(package), str(place))
        (place / "usr").mkdir(exist_ok=True)
        (self.image,) = (place / "boot").glob("vmlinuz-*")
        self.version = self.image.name.removeprefix("vmlinuz-")
        _run("depmod", "-b", str(place), self.version)

    def initramfs(self, program: list[str], place: Path) -> Path:
        """What the machine starts with: it runs `python -m PROGRAM...` of this tree."""
        tree = place / "initramfs"
        for name in ("bin", "proc", "sys", "dev", "below", "above", "new"):
            (tree / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", tree / "bin/busybox")
        modules = Path("lib/modules", self.version)
        for path in self._modules():
            (tree / modules / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.place / modules / path, tree / modules / path)
        shutil.copy(self.place / modules / "modules.dep", tree / modules)
        words = {"root": ROOT, "python": sys.executable, "program": " ".join(program)}
        (tree / "init").write_text(_INIT.format(modules=MODULES, **words))
        (tree / "init").chmod(0o755)
        names = _run("find", ".", cwd=tree)
        packed = place / "initramfs.cpio"
        with packed.open("wb") as file:
            argv = ["cpio", "-o", "-H", "newc", "--quiet"]
            subprocess.run(argv, input=names.encode(), stdout=file, cwd=tree, check=True)
        shutil.rmtree(tree)
        return packed

    def _modules(self) -> set[str]:
        """The files of the modules and of what they stand on."""
        table = (self.place / "lib/modules" / self.version / "modules.dep").read_text()
        needs = {
            path: found.split() for path, found in re.findall(r"^(\S+):(.*)$", table, flags=re.M)
        }
        wanted = {path for path in needs if Path(path).name.removesuffix(".ko") in MODULES.split()}
        return wanted.union(*(needs[path] for path in wanted))


class Machine:
    """`start`, read its lines, `cut` its power, and start it again."""

    def __init__(self, kernel: Kernel, *, memory: int = 1024) -> None:
        self._kernel, self._memory = kernel, memory
        self._place = Path(tempfile.mkdtemp(prefix="kedge-machine-", dir="/var/tmp"))
        self.disk = self._place / "disk"
        _run("truncate", "-s", "3G", str(self.disk))
        _run("mkfs.ext4", "-q", str(self.disk))
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        """Everything it has printed since it was started."""

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.cut()
        shutil.rmtree(self._place)

    def start(self, *program: str) -> None:
        """Switch it on: it runs `python -m PROGRAM...`."""
        assert self._process is None
        initramfs = self._kernel.initramfs(list(program), self._place)
        self._lines, self.said = queue.Queue(), []
        argv = ["qemu-system-x86_64", "-accel", "tcg", "-smp", "1", "-cpu", "max"]
        argv += ["-m", str(self._memory), "-display", "none", "-no-reboot", "-serial", "stdio"]
        argv += ["-kernel", str(self._kernel.image), "-initrd", str(initramfs)]
        argv += ["-append", "console=ttyS0 quiet panic=-1"]
        argv += ["-drive", f"file={self.disk},format=raw,if=virtio,cache=none,aio=threads"]
        shared = "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"
        argv += ["-virtfs", shared, "-nic", "user,model=virtio-net-pci"]
        argv += ["-qmp", f"unix:{self._place}/monitor,server=on,wait=off"]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._listen, args=(self._process, self._lines)).start()

    def line(self, beginning: str, seconds: float) -> str:
        """The next line that begins so, without that. AssertionError with all it said when it does
        not come in time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                said = self._lines.get(timeout=left)
            except queue.Empty:
                break
            self.said.append(said)
            if said == OFF:
                break
            if said.startswith(beginning):
                return said.removeprefix(beginning).strip()
        raise AssertionError(f"no {beginning!r}; the machine said:\n" + "\n".join(self.said[-60:]))

    def pending(self) -> list[str]:
        """The lines that have arrived and nobody has read."""
        found = []
        while not self._lines.empty():
            found.append(self._lines.get())
        self.said += found
        return found

    def suspend(self) -> None:
        """Its processors stand still, and so does its clock."""
        self._command("stop")

    def resume(self) -> None:
        """It goes on as if nothing had been."""
        self._command("cont")

    def cut(self) -> None:
        """No power: what was in its memory is gone. Repeating it is no error."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _command(self, name: str) -> None:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self._place / "monitor"))
            replies = monitor.makefile("r")
            replies.readline()
            for command in ("qmp_capabilities", name):
                monitor.sendall(json.dumps({"execute": command}).encode())
                while "return" not in (reply := json.loads(replies.readline())):
                    assert "error" not in reply, reply

    @staticmethod
    def _listen(process: subprocess.Popen[bytes], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        with process.stdout as said:
            for line in said:
                lines.put(line.decode(errors="replace").rstrip())
        lines.put(OFF)


def _run(*argv: str, cwd: Path | None = None) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout
