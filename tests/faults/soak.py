"""Random faults one after the other on one store, for as long as one likes:

    python -m tests.faults.soak WORK SECONDS SEED

A process pulls models, mounts and removes them, three threads at once, from a registry that cuts, resets, refuses and
lies. It is stopped now and then, and killed; the oracle looks at what lies there, and the next life begins. Ends with a
count of what happened, or with the first promise that broke and in which life.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from api.errors import InUse, WarmsetError
from api.tree import Tree
from cache.archives.packing import Packing
from cache.http.retry import RetryPolicy
from cache.store import Store
from tests.faults import oracle
from tests.support.command import REPOSITORY
from tests.support.fake_registry import FakeRegistry, Fault
from tests.support.layers import layer, manifest
from tests.support.pulling import bring

AT_ONCE = 3
MODELS = 36  # each thread has a third of them for itself, so that one's removal breaks no other's promise
PACKINGS: tuple[Packing, ...] = ("tar", "tar+gzip", "tar+zstd")
LONGEST_LIFE_S = 2.0
FAULT_EVERY_S = 0.02
MOST_BYTES = 256 << 20  # of memory, and
MOST_DESCRIPTORS = 128  # however much was pulled before

Promise = Callable[[str], None]


@dataclass
class Registry:
    """What a pull asks of one: where it is. The registry itself is another process's."""

    host: str


def live(root: Path, host: str, seed: int) -> None:
    """Until it is killed, or has given every model up."""
    RetryPolicy.wait_s = lambda *_, **__: 0.01  # type: ignore[method-assign]
    said = os.open(promises_of(root), os.O_WRONLY | os.O_APPEND)

    def promise(line: str) -> None:
        os.write(said, f"{line}\n".encode())

    def worked(mine: int) -> None:
        try:
            work(store, host, seed, mine, promise)
        except BaseException:  # what has no name is a defect, and ends this life in another way than by a kill
            traceback.print_exc()
            os._exit(1)

    with Store.open(root) as store:
        threads = [threading.Thread(target=worked, args=(mine,)) for mine in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        print("alive", flush=True)
        for thread in threads:
            thread.join()
    time.sleep(2 * LONGEST_LIFE_S)


def work(store: Store, host: str, seed: int, mine: int, promise: Promise) -> None:
    chance = random.Random(seed * AT_ONCE + mine)
    left = set(range(mine, MODELS, AT_ONCE))
    while left:
        number = chance.choice(sorted(left))
        try:
            pulled = bring(Registry(host), store, f"m/{number}:v1", key=f"m/{number}", workers=2)  # type: ignore[arg-type]
        except WarmsetError:
            continue  # the registry was too bad; what has come is kept
        promise(f"tree {pulled.tree.digest.hex}")
        promise(f"record m/{number}")
        act = chance.random()
        if act < 0.3:
            left.discard(number)
            give_up(store, pulled.tree, number, promise)
        elif act < 0.6:
            publication = hashlib.sha256(f"{seed} {number} {act}".encode()).hexdigest()
            store.pin(publication, tree=pulled.tree.digest, note={})
            promise(f"pin {publication}")


def give_up(store: Store, tree: Tree, number: int, promise: Promise) -> None:
    promise(f"gone record m/{number}")
    promise(f"gone tree {tree.digest.hex}")
    with suppress(InUse):  # a pin holds it
        store.remove_tree(tree.digest)


class Soak:
    """Plays everything around the lives: the registry, what kills them, and what kubelet gives up in between."""

    def __init__(self, root: Path, registry: FakeRegistry, seed: int) -> None:
        self._root = root
        self._registry = registry
        self._seed = seed
        self._chance = random.Random(seed)
        self.lives = 0
        self.cut = 0  # lives that ended in the middle of a pull
        self.faults = 0  # of the registry
        shared = self._chance.randbytes(2 << 20)
        for number in range(MODELS):
            sizes = [self._chance.randrange(3 << 20) for _ in range(self._chance.randrange(1, 5))]
            files = {f"{n}.gguf": self._chance.randbytes(size) for n, size in enumerate(sizes)}
            files["shared.safetensors"] = shared
            if number % 4:
                registry.add_model(f"m/{number}", "v1", files)
            else:
                packing = self._chance.choice(PACKINGS)
                packed = manifest(registry, layer(files, packing=packing), packing=packing)
                registry.add_manifest(f"m/{number}", "v1", packed)

    def life(self) -> None:
        """One life and its end. Raises Broken."""
        self._between()
        self.lives += 1
        arguments = ["live", str(self._root), self._registry.host, str(self._seed * 1000 + self.lives)]
        command = [sys.executable, "-m", "tests.faults.soak", *arguments]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"alive\n", "it did not begin"
            self._trouble(process)
            if process.poll() is None:
                check_bounds(process.pid)
            process.kill()
        if process.returncode != -signal.SIGKILL:
            raise oracle.Broken(f"it ended by itself, with {process.returncode}")
        self.cut += any((self._root / "ingest").iterdir())
        oracle.check_after_crash(self._root, promises=promises_of(self._root))

    def _between(self) -> None:
        """Some pods end and some models go; what is left is promised to the next life."""
        with Store.open(self._root) as store:
            for publication in store.pins():
                if self._chance.random() < 0.7:
                    store.unpin(publication)
            for tree in store.trees():
                if self._chance.random() < 0.7:
                    with suppress(InUse):
                        store.remove_tree(tree)
            lines = [*(f"tree {tree.hex}" for tree in store.trees()), *(f"pin {pin}" for pin in store.pins())]
        promises_of(self._root).write_text("".join(f"{line}\n" for line in lines))

    def _trouble(self, process: subprocess.Popen[bytes]) -> None:
        ends = time.monotonic() + self._chance.uniform(0.05, LONGEST_LIFE_S)
        stops = self._chance.random() < 0.3
        while time.monotonic() < ends:
            self._registry.faults = [fault for fault in self._registry.faults if fault.times > 0]
            if len(self._registry.faults) < 3:
                self._registry.faults.append(self._fault())
                self.faults += 1
            time.sleep(FAULT_EVERY_S)
        if stops:
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            process.send_signal(signal.SIGCONT)
        self._registry.seen.clear()

    def _fault(self) -> Fault:
        at = self._chance.randrange(1 << 20)
        return self._chance.choice(
            [
                Fault(cut_after=at),
                Fault(cut_after=at, reset=True),
                Fault(flip=at),
                Fault(ignore_range=True),
                Fault(status=503),
                Fault(status=429, headers={"Retry-After": "0"}),
                Fault(path="/manifests/", status=500),
            ]
        )


def check_bounds(pid: int) -> None:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    taken = int(status["VmHWM"].split()[0]) << 10
    if taken > MOST_BYTES:
        raise oracle.Broken(f"{taken >> 20} MiB of memory")
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    if descriptors > MOST_DESCRIPTORS:
        raise oracle.Broken(f"{descriptors} descriptors")


def promises_of(root: Path) -> Path:
    return root.with_name("promises")


def main(work: Path, seconds: float, seed: int) -> str:
    ends = time.monotonic() + seconds
    with FakeRegistry() as registry:
        soak = Soak(work / "cache", registry, seed)
        while time.monotonic() < ends:
            try:
                soak.life()
            except AssertionError as broken:
                sys.exit(f"seed {seed}, life {soak.lives}: {broken}")
    return f"{soak.lives} lives, {soak.cut} cut in the middle of a pull, {soak.faults} faults of the registry"


if __name__ == "__main__":
    if sys.argv[1] == "live":
        live(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        print(main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
