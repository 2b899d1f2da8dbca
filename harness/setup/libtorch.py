#!/usr/bin/env python3
"""Provide libtorch for this checkout, in `.libtorch/`.

    libtorch.py ensure    whatever is selected, or the CPU library if nothing is
    libtorch.py cpu       the CPU library, and select it
    libtorch.py cuda      the CUDA library, and select it
    libtorch.py python    PyTorch for this Python, on the CPU; --into links it into a folder of packages
    libtorch.py status    say what is there; download nothing

The libraries come out of PyTorch's own Python wheels, fetched by the user's own pip, so that its
index, proxy and certificates apply. No Python environment is touched: wheels are only downloaded,
checked against the sha256 pinned in `wheels.json`, and unpacked:

    .libtorch/cpu/       lib/, include/         the CPU half of the wheel
    .libtorch/cuda/      torch/, nvidia/        the wheels' own layout, which the libraries' rpaths need
    .libtorch/python/    torch/, torchgen/, ... the Python half, with stand-ins for what only CUDA needs
    .libtorch/current    link to `cpu` or `cuda/torch`: what .cargo/config.toml names as LIBTORCH
    .libtorch/download/  verified wheels of an unfinished set-up; removed once it is done

All are cut from one wheel: `libtorch_cpu.so`, `libc10.so` and the headers are the same files. That
is why selecting the other needs no rebuild, and why the Python half is taken out with the first of
them: it shares their libraries by hard link, and the wheel is not downloaded twice. The wheel is of
Python 3.11; under another Python the Python half comes from a wheel of its own.

A folder is complete when it has its final name: it is filled under another one and renamed.
Python 3.8 and its standard library are enough.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import absent  # noqa: E402

TORCH = "2.13.0"
HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
ATTEMPTS = 4
# For what is not counted below: folders, the last block of each of ten thousand headers.
SPARE_BYTES = 100_000_000

# Not needed to run on a CPU; everything else in torch/lib is, on either architecture.
NOT_CPU = re.compile(
    r"lib(torch(_cuda.*|_python|_nvshmem|_global_deps)?|c10_cuda|caffe2_nvrtc|shm)\.so$"
)
CUDA = re.compile(r"torch/(lib|include)/|nvidia/.*/lib/[^/]+\.so[0-9.]*$")
# torch/__init__.py asks for torch_shm_manager. A CUDA device alone loads libtorch_cuda_linalg and libcaffe2_nvrtc.
PYTHON = re.compile(
    r"(torchgen|functorch|torch-[^/]+\.dist-info)/"
    r"|torch/(?!include/|bin/|test/|share/|lib/lib(torch_cuda_linalg|caffe2_nvrtc)\.so)|torch/bin/torch_shm_manager$"
)
RUNTIME = ("libcudart.so.13", "libcupti.so.13")
OWN_LIBTORCH = (
    "To use a libtorch {v} of your own instead, set LIBTORCH to its folder (the one that holds\n"
    "lib/ and include/), or set LIBTORCH_USE_PYTORCH=1 in a Python environment with torch=={v}."
).format(v=TORCH)


class SetupError(Exception):
    """What went wrong and what to do about it, for a person."""


def say(text):
    print("libtorch: " + text, flush=True)


def human(count):
    return "%.1f GB" % (count / 1e9) if count >= 1e9 else "%.0f MB" % (count / 1e6)


# --- What is to be provided ---------------------------------------------------------------------


class Library:
    """One variant of libtorch: its wheels, its folder, and what is taken from the wheels.

    `unpacked` bytes of files, of which `shared` are those of another variant.
    """

    def __init__(self, name, wheels, unpacked, shared=0):
        self.name = name
        self.wheels = wheels
        self.unpacked = unpacked
        self.shared = shared

    @property
    def target(self):
        """What `current` points to: the folder that holds lib/ and include/."""
        return "cpu" if self.name == "cpu" else "cuda/torch"

    @property
    def manifest(self):
        """The text of the `wheels` file, which says what a finished folder was made of."""
        return "".join("%s  %s\n" % (w["sha256"], w["file"]) for w in self.wheels)

    def place(self, member):
        """Where a file of a wheel goes, or None if it is not needed."""
        if member.endswith("/"):
            return None
        if self.name == "cuda":
            return member if CUDA.match(member) else None
        directory, _, name = member.rpartition("/")
        if self.name == "python":
            return "torch/lib/" + name if name in RUNTIME else member if PYTHON.match(member) else None
        if member.startswith("torch/include/"):
            return member[len("torch/"):]
        if directory == "torch/lib" and ".so" in name and not NOT_CPU.match(name):
            return "lib/" + name
        return "lib/" + name if name in RUNTIME else None

    def finish(self, folder):
        """Add what no wheel holds."""
        if self.name == "python":
            os.chmod(str(folder / "torch" / "bin" / "torch_shm_manager"), 0o755)
            try:
                absent.provide(folder / "torch" / "lib", shlex.split(os.environ.get("CC") or "cc"))
            except absent.AbsentError as error:
                raise SetupError("Python's torch could not be set up: %s" % error)
            (folder / "wheels").write_text(self.manifest)
            return
        home = folder / "torch" if self.name == "cuda" else folder
        for needed in ("lib/libtorch_cpu.so", "lib/libc10.so", "include"):
            if not (home / needed).exists():
                raise SetupError("the wheels did not hold torch/%s; is wheels.json right?" % needed)
        if self.name == "cpu":
            # torch-sys links -ltorch. The wheel's libtorch.so needs libtorch_cuda.so.
            (home / "lib" / "libtorch.so").write_text("INPUT(libtorch_cpu.so)\n")
        # torch-sys compares this with the version it was made for.
        (home / "build-version").write_text("%s+%s\n" % (TORCH, self.name))
        (folder / "wheels").write_text(self.manifest)


def library(name, machine=None, pins=HERE / "wheels.json", python=None):
    """`python`: the tag of a Python, `cp311`; this one's if None."""
    machine = machine or platform.machine()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine)
    known = json.loads(Path(pins).read_text())
    entry = known.get(machine, {}).get(name)
    if entry is None:
        raise SetupError(
            "no %s library is pinned for %s machines.\n%s" % (name, machine, OWN_LIBTORCH)
        )
    wheels = entry["wheels"]
    if name == "python":
        python = python or "cp%d%d%s" % (sys.version_info[0], sys.version_info[1], getattr(sys, "abiflags", ""))
        tags = [w["file"].split("-")[2] for w in wheels]
        if python not in tags:
            raise SetupError(
                "Python's torch is pinned for %s, and this Python is %s: name another one, such as PYTHON=python3.11"
                % (", ".join(t for t in tags if t != "py3"), python)
            )
        wheels = [w for w, tag in zip(wheels, tags) if tag in (python, "py3")]
    return Library(name, wheels, entry["unpacked"], entry.get("shared", 0))


def check_platform(system=None, libc=None):
    """The wheels are for Linux with glibc 2.28 or newer."""
    system = system or platform.system()
    if system != "Linux":
        raise SetupError("libtorch is provided on Linux only, this is %s.\n%s" % (system, OWN_LIBTORCH))
    kind, version = libc or platform.libc_ver()
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if kind != "glibc" or numbers < (2, 28):
        found = ("%s %s" % (kind, version)).strip() or "another C library"
        raise SetupError("libtorch needs glibc 2.28 or newer, this system has %s.\n%s" % (found, OWN_LIBTORCH))


# --- The user's own libtorch --------------------------------------------------------------------


def own_libtorch(root, env):
    """True if the user named a libtorch; then it is checked and nothing is provided."""
    if env.get("LIBTORCH_USE_PYTORCH") is not None:
        python = "python" if env.get("VIRTUAL_ENV") else "python3"
        say("LIBTORCH_USE_PYTORCH is set: the torch of `%s` is used, nothing to provide" % python)
        code = "import importlib.metadata as m; print(m.version('torch'))"
        try:
            answer = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
            version = answer.stdout.decode().strip()
        except OSError:
            version = ""
        if not version:
            raise SetupError("`%s` has no torch: pip install torch==%s, or unset LIBTORCH_USE_PYTORCH" % (python, TORCH))
        warn_of_version(version)
        return True
    value = env.get("LIBTORCH")
    if not value:
        return False
    folder = Path(value)
    if folder.resolve() == (root / "current").resolve() or (root / "current") == folder:
        return False  # cargo hands its setting down to what it runs
    say("LIBTORCH=%s is set: it is used, nothing to provide" % value)
    if not (folder / "lib" / "libtorch_cpu.so").exists() and not env.get("LIBTORCH_LIB"):
        raise SetupError("%s holds no lib/libtorch_cpu.so: correct LIBTORCH, or unset it" % value)
    version = version_of(folder)
    if version:
        warn_of_version(version)
    else:
        say("warning: its version could not be found out; %s is needed" % TORCH)
    return True


def version_of(folder):
    """The version of an unpacked libtorch, or None."""
    with contextlib.suppress(OSError):
        return (folder / "build-version").read_text().strip()
    for header in ("include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"):
        with contextlib.suppress(OSError):
            found = re.search(r'#define TORCH_VERSION "([^"]+)"', (folder / header).read_text())
            if found:
                return found.group(1)
    return None


def warn_of_version(version):
    if version.split("+")[0] != TORCH:
        say(
            "WARNING: that is libtorch %s; this harness is made for %s, and the build will refuse it\n"
            "          (LIBTORCH_BYPASS_VERSION_CHECK=1 makes it try)" % (version, TORCH)
        )


# --- Download -----------------------------------------------------------------------------------


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class Pip:
    """The user's pip, as a downloader."""

    def __init__(self, command, env):
        self.command = command
        self.env = dict(env)
        # A rule for installing, not for downloading; nothing is installed.
        self.env["PIP_REQUIRE_VIRTUALENV"] = "0"
        try:
            answer = subprocess.run(
                command + ["--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.env
            )
        except OSError:
            answer = None
        found = answer and answer.returncode == 0 and re.search(rb"pip (\d+)\.(\d+)", answer.stdout)
        if not found:
            raise SetupError(
                "pip is needed to download libtorch, and `%s` does not work.\n"
                "Install it (Debian and Ubuntu: apt install python3-pip; or: python3 -m ensurepip --user),\n"
                "or name another one, for example PIP='/path/to/python -m pip'.\n%s"
                % (" ".join(command), OWN_LIBTORCH)
            )
        self.version = (int(found.group(1)), int(found.group(2)))
        if self.version < (20, 3):
            raise SetupError("pip 20.3 or newer is needed, this is %d.%d: python3 -m pip install --user -U pip" % self.version)

    def download(self, wheel, folder):
        """One try at one wheel; True if pip says that it succeeded."""
        requirements = folder / "requirements.txt"
        # The hash also makes pip pass over another build of the same version, such as one that an
        # extra index offers.
        requirements.write_text("%s --hash=sha256:%s\n" % (wheel["requirement"], wheel["sha256"]))
        command = self.command + [
            "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input",
            "--disable-pip-version-check", "--dest", str(folder), "--requirement", str(requirements),
        ]  # fmt: skip
        tag = wheel["file"].split("-")[2]
        tag = "cp311" if tag == "py3" else tag
        command += ["--implementation", "cp", "--python-version", tag[2] + "." + tag[3:], "--abi", tag]
        # The tag in the file's name, not this machine's: one hash holds whatever Python runs this.
        for tag in wheel["file"][: -len(".whl")].split("-")[-1].split("."):
            command += ["--platform", tag]
        if self.version >= (25, 1):
            command += ["--resume-retries", "20"]
        # pip writes the wheel to a temporary folder first, and the system's may be small.
        env = dict(self.env, TMPDIR=str(folder))
        return subprocess.run(command, env=env, stdin=subprocess.DEVNULL).returncode == 0


def fetch(wheel, store, pip, pause):
    """Bring one wheel into `store`, with the right hash; keep one that is there already."""
    final = store / wheel["file"]
    if final.exists():
        if sha256(final) == wheel["sha256"]:
            say("%s is here from an earlier attempt, and intact" % wheel["file"])
            return
        say("%s from an earlier attempt is damaged: fetching it again" % wheel["file"])
        final.unlink()
    for attempt in range(1, ATTEMPTS + 1):
        say("downloading %s (%s)" % (wheel["file"], human(wheel["size"])))
        partial = store / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        succeeded = pip.download(wheel, partial)
        files = sorted(partial.glob("*.whl"))
        if not succeeded:
            # An older pip calls a connection that broke off a hash that does not match.
            problem = "pip failed, or the connection did"
        elif len(files) != 1:
            problem = "pip left %d wheels instead of one" % len(files)
        elif files[0].stat().st_size < wheel["size"]:
            problem = "the download is truncated, %d of %d bytes" % (files[0].stat().st_size, wheel["size"])
        elif sha256(files[0]) != wheel["sha256"]:
            problem = "the sha256 is wrong: %s, not %s" % (sha256(files[0]), wheel["sha256"])
        else:
            os.replace(str(files[0]), str(final))
            shutil.rmtree(partial, ignore_errors=True)
            say("sha256 verified")
            return
        shutil.rmtree(partial, ignore_errors=True)
        if attempt < ATTEMPTS:
            say("%s; attempt %d of %d follows" % (problem, attempt + 1, ATTEMPTS))
            time.sleep(pause * 3 ** (attempt - 1))
    raise SetupError(
        "%s could not be downloaded in %d attempts: %s.\n"
        "Wheels that did arrive are kept; run the same command again to go on.\n"
        "pip must reach an index that has %s; `python3 -m pip config list` shows what it uses.\n%s"
        % (wheel["file"], ATTEMPTS, problem, wheel["requirement"], OWN_LIBTORCH)
    )


def check_space(lib, store, root, free, python=None):
    unpacked = unpacked_size(lib, python)
    missing = [w["size"] for w in lib.wheels if not (store / w["file"]).exists()]
    # pip holds the wheel in flight twice for a moment.
    need = sum(missing) + max([unpacked] + missing) + SPARE_BYTES
    if free < need:
        raise SetupError(
            "the %s library needs %s of disk for a moment (%s to keep), and %s has %s free.\n%s"
            % (lib.name, human(need), human(unpacked), root, human(free), OWN_LIBTORCH)
        )


def unpacked_size(lib, python):
    """Bytes to keep of `lib` and of `python`, which shares files with it."""
    return lib.unpacked + (python.unpacked - python.shared if python else 0)


def unpack(lib, store, staging, shared=None):
    """`shared`: a folder like torch/ in which some of the files lie already."""
    for wheel in lib.wheels:
        say("unpacking %s" % wheel["file"])
        with zipfile.ZipFile(str(store / wheel["file"])) as archive:
            for member in archive.infolist():
                place = lib.place(member.filename)
                if place is None:
                    continue
                path = staging / place
                if ".." in path.parts:
                    raise SetupError("%s holds a path that leaves its folder: %s" % (wheel["file"], member.filename))
                path.parent.mkdir(parents=True, exist_ok=True)
                if shared and link(shared / place[len("torch/"):], path, member.file_size):
                    continue
                with archive.open(member) as source, open(str(path), "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)


def link(there, here, size):
    """True if `there` is a file of this size and now `here`, too. A libtorch.so may be another one."""
    with contextlib.suppress(OSError):
        if there.stat().st_size == size:
            os.link(str(there), str(here))
            return True
    return False


# --- The commands -------------------------------------------------------------------------------


def is_present(lib, root):
    try:
        return (root / lib.name / "wheels").read_text() == lib.manifest
    except OSError:
        return False


def provide(lib, root, pip, pause=2.0, free=None, python=None):
    """Make `.libtorch/<name>` complete, and `python`, which is cut from the same wheels. `pause` is in seconds."""
    store = root / "download"
    store.mkdir(parents=True, exist_ok=True)
    check_space(lib, store, root, shutil.disk_usage(str(root)).free if free is None else free, python)
    total = sum(w["size"] for w in lib.wheels)
    say("providing the %s library %s in %s" % (lib.name, TORCH, root / lib.name))
    say("%d wheels, %s to download, %s unpacked" % (len(lib.wheels), human(total), human(unpacked_size(lib, python))))
    for wheel in lib.wheels:
        fetch(wheel, store, pip, pause)
    place(lib, root, store)
    if python:
        try:
            place(python, root, store)
        except SetupError as error:
            # Only the tests need it, and `make python` says the same again.
            say("warning: %s" % error)
    for wheel in lib.wheels:
        (store / wheel["file"]).unlink()
    with contextlib.suppress(OSError):
        store.rmdir()  # not empty if the other library's wheels are waiting there


def place(lib, root, store):
    """Cut `.libtorch/<name>` from the wheels in `store`."""
    staging = root / ("unpacking-" + lib.name)
    for leftover in (staging, root / lib.name):
        shutil.rmtree(str(leftover), ignore_errors=True)
    staging.mkdir()
    unpack(lib, store, staging, shared_with(lib, root))
    lib.finish(staging)
    os.replace(str(staging), str(root / lib.name))


def shared_with(lib, root):
    """The folder whose lib/ holds files of the wheel that `lib` is cut from, or None."""
    if lib.name != "python":
        return None
    for name, home in (("cuda", "cuda/torch"), ("cpu", "cpu")):
        with contextlib.suppress(OSError):
            if lib.wheels[0]["sha256"] in (root / name / "wheels").read_text():
                return root / home
    return None


def offer(packages, into):
    """Link what lies in the folder `packages` into the folder `into`, where Python looks for it."""
    for there in packages.iterdir():
        if there.is_dir():
            here = into / there.name
            if here.is_symlink():
                here.unlink()
            elif here.exists():
                raise SetupError("%s is in the way: remove it" % here)
            here.symlink_to(os.path.relpath(str(there), str(into)))


def select(lib, root):
    link = root / "current"
    if link.is_symlink() and os.readlink(str(link)) == lib.target:
        return
    fresh = root / "current.new"
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(lib.target)
    os.replace(str(fresh), str(link))


def selected(root):
    """The name of the selected library, or None."""
    try:
        return os.readlink(str(root / "current")).split("/")[0]
    except OSError:
        return None


def from_the_same_wheels(lib, root, python=None):
    """The Python half, if it is missing and the wheels of `lib` hold it."""
    with contextlib.suppress(SetupError):
        python = python or library("python")
        if not is_present(python, root) and all(wheel in lib.wheels for wheel in python.wheels):
            return python
    return None


@contextlib.contextmanager
def alone(root):
    """One set-up at a time in one checkout."""
    root.mkdir(parents=True, exist_ok=True)
    with open(str(root / "lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another set-up is at work in this checkout: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_python(root, env, into, pause=2.0):
    check_platform()
    with alone(root):
        lib = library("python")
        if not is_present(lib, root):
            provide(lib, root, pip_of(env), pause)
        if into:
            offer(root / "python", into)
        say("Python's torch %s is in place: %s" % (TORCH, into or root / "python"))


def pip_of(env):
    return Pip(shlex.split(env["PIP"]) if env.get("PIP") else [sys.executable, "-m", "pip"], env)


def run(command, root, env, pause=2.0):
    if own_libtorch(root, env):
        if command in ("cpu", "cuda"):
            say("unset it to use the %s library of this checkout" % command)
        return
    if command == "status":
        name = selected(root)
        say("%s is selected" % name if name else "nothing is selected; `make libtorch` provides it")
        return
    check_platform()
    with alone(root):
        name = command if command != "ensure" else selected(root) or "cpu"
        lib = library(name)
        if not is_present(lib, root):
            provide(lib, root, pip_of(env), pause, python=from_the_same_wheels(lib, root))
        select(lib, root)
        say("the %s library %s is in place: %s" % (lib.name, TORCH, root / "current"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["ensure", "cpu", "cuda", "python", "status"])
    parser.add_argument("--root", type=Path, default=CHECKOUT / ".libtorch", help="default: .libtorch of this checkout")
    parser.add_argument("--into", type=Path, help="the folder of Python packages that `python` links torch into")
    arguments = parser.parse_args()
    root = Path(os.path.abspath(str(arguments.root)))
    try:
        if arguments.command == "python":
            run_python(root, os.environ, arguments.into)
        else:
            run(arguments.command, root, os.environ)
    except SetupError as error:
        print("\nlibtorch: error: %s" % error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlibtorch: interrupted; verified wheels are kept, run the same command to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
