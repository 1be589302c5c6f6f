"""A Slurm cluster of this machine alone: one controller and some nodes on loopback, gone after the block.

Facts by trial with Debian's Slurm 22.05 (docs/pipelines.md): nothing listens beyond loopback, no daemon of the packages
is used, and a node is killed with all that it runs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CONF = Path("/etc/slurm/slurm.conf")
_CONFIG = """ClusterName=kdf
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.socket,cred_expire=10
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=15
MinJobAge=300
SlurmctldPort={port}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/%n.log
JobRequeue=1
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Cluster:
    """A cluster that runs.

    Attributes:
        nodes: name -> the daemon of the node.
    """

    root: Path
    nodes: dict[str, subprocess.Popen[bytes]]

    def kill(self, node: str) -> None:
        """Let a node die as by a power cut: its daemon, and the jobs that it runs, at once."""
        running = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        work = [pid for pid in running if _environment(pid).get("SLURMD_NODENAME") == node]
        # slurmstepd leaves the daemon that started it, so it is known by what it runs.
        steps = {parent for parent in map(_parent, work) if parent and _name(parent).startswith("slurmstepd")}
        for pid in (self.nodes[node].pid, *steps, *work):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.nodes[node].wait()

    def jobs_on(self, node: str) -> list[str]:
        """The numbers of the jobs that run there."""
        done = subprocess.run(
            ["squeue", "--noheader", "--nodelist", node, "--states", "RUNNING", "--format", "%A"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.split()


def _environment(pid: int) -> dict[str, str]:
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def _parent(pid: int) -> int:
    try:
        # Field 4 of /proc/pid/stat (proc(5)); the name in field 2 may hold spaces and brackets.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


@contextlib.contextmanager
def cluster(root: Path, count: int = 2) -> Iterator[Cluster]:
    """A cluster of so many nodes.

    Args:
        root: an empty directory for its state and logs.
    """
    host = socket.gethostname().partition(".")[0]
    key = root / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    (root / "state").mkdir()
    nodes = "\n".join(
        f"NodeName=n{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={17000 + n} CPUs=2 RealMemory=6000"
        for n in range(1, count + 1)
    )
    conf = root / "slurm.conf"
    conf.write_text(_CONFIG.format(host=host, root=root, port=16817, nodes=nodes))
    if CONF.exists() or CONF.is_symlink():
        raise AssertionError(f"{CONF} is there already: this machine has a Slurm of its own")
    CONF.parent.mkdir(exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        log = (root / "daemons.log").open("ab")
        started.append(subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    try:
        # The plugin of Snakemake drops SLURM_* variables, so the file must be found at its usual place.
        CONF.symlink_to(conf)
        start(
            str(shutil.which("munged")), "--foreground", "--force", f"--key-file={key}",
            f"--socket={root}/munge.socket", f"--pid-file={root}/munged.pid", f"--log-file={root}/munged.log",
            f"--seed-file={root}/munged.seed",
        )  # fmt: skip
        _until(lambda: (root / "munge.socket").exists(), "munged")
        start("slurmctld", "-D", "-f", str(conf))
        daemons = {f"n{n}": start("slurmd", "-D", "-N", f"n{n}", "-f", str(conf)) for n in range(1, count + 1)}
        _until(lambda: _states().count("idle") == count, "the nodes")
        yield Cluster(root, daemons)
    finally:
        for one in reversed(started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGTERM)
        for one in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(5)
            if one.poll() is None:
                one.kill()
        if CONF.is_symlink():
            CONF.unlink()


def _states() -> list[str]:
    done = subprocess.run(["sinfo", "-N", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
    return done.stdout.split()


def _until(ready: object, what: str, seconds: float = 30) -> None:
    assert callable(ready)
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} did not come up"
        time.sleep(0.3)
