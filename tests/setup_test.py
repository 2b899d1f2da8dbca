"""The set-up of libtorch, against a pip that misbehaves on demand. Needs no network.

    python3 tests/setup_test.py
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SCRIPT = CHECKOUT / "harness" / "setup" / "libtorch.py"
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("libtorch", str(SCRIPT))
libtorch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(libtorch)

# Takes the first word of the file `plan`, acts it out, and logs its arguments.
FAKE_PIP = r"""
import os, pathlib, shutil, sys
here = pathlib.Path(__file__).parent
if "--version" in sys.argv:
    print((here / "version").read_text())
    sys.exit(0)
with open(str(here / "calls"), "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\n")
dest = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
asked = pathlib.Path(sys.argv[sys.argv.index("--requirement") + 1]).read_text()
plan = (here / "plan").read_text().split()
act = plan.pop(0) if plan else "works"
(here / "plan").write_text(" ".join(plan))
name = asked.split("==")[0].replace("-", "_")
wheel = next((here / "index").glob(name + "-*.whl"))
content = wheel.read_bytes()
if act == "works":
    (dest / wheel.name).write_bytes(content)
elif act == "truncates":
    (dest / wheel.name).write_bytes(content[: len(content) // 2])
elif act == "lies":
    (dest / wheel.name).write_bytes(bytes(len(content)))
elif act == "fails":
    sys.exit(1)
elif act == "forgets":
    pass
elif act == "dies":
    (dest / wheel.name).write_bytes(content[: len(content) // 3])
    os.kill(os.getpid(), 9)
"""

FILES = {
    "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl": {
        "torch/lib/libtorch_cpu.so": "cpu",
        "torch/lib/libc10.so": "c10",
        "torch/lib/libgomp.so.1": "gomp",
        "torch/lib/libtorch.so": "needs cuda",
        "torch/lib/libtorch_cuda.so": "cuda",
        "torch/lib/libtorch_cuda_linalg.so": "linalg",
        "torch/lib/libtorch_python.so": "python",
        "torch/lib/libshm/alloc_info.h": "header",
        "torch/include/torch/torch.h": "header",
        "torch/__init__.py": "answer = 42",
        "torch/bin/torch_shm_manager": "manager",
        "torch/bin/protoc": "protoc",
        "torch/test/test.py": "test",
        "torchgen/__init__.py": "",
        "torch-2.13.0.dist-info/METADATA": "Name: torch\nVersion: 2.13.0\n",
        "torch-2.13.0.data/purelib/other.py": "",
    },
    "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl": {
        "nvidia/cu13/lib/libcudart.so.13": "cudart",
        "nvidia/cu13/include/cuda.h": "header",
    },
}


class SetupTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.fake = Path(folder.name) / "fake"
        self.root = Path(folder.name) / "checkout" / ".libtorch"
        (self.fake / "index").mkdir(parents=True)
        (self.fake / "pip.py").write_text(FAKE_PIP)
        (self.fake / "version").write_text("pip 23.2.1 from here (python 3.8)")
        self.plan("")
        wheels = []
        for name, members in FILES.items():
            path = self.fake / "index" / name
            with zipfile.ZipFile(str(path), "w") as archive:
                for member, text in members.items():
                    archive.writestr(member, text)
            content = path.read_bytes()
            wheels.append(
                {
                    "requirement": "==".join(name.split("-")[:2]).replace("_", "-"),
                    "file": name,
                    "size": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            )
        entry = {"unpacked": 1000, "wheels": wheels}
        self.pins = self.fake / "wheels.json"
        other = dict(wheels[0], file=wheels[0]["file"].replace("cp311", "cp312"))
        python = {"unpacked": 1500, "shared": 500, "wheels": [wheels[0], other, wheels[1]]}
        self.pins.write_text(json.dumps({"x86_64": {"cpu": entry, "cuda": entry, "python": python}}))
        self.torch = self.root / "download" / wheels[0]["file"]

    def plan(self, acts):
        (self.fake / "plan").write_text(acts)

    def library(self, name="cpu", python="cp311"):
        return libtorch.library(name, "x86_64", self.pins, python)

    def pip(self, env=None):
        return libtorch.Pip([sys.executable, str(self.fake / "pip.py")], env or os.environ)

    def provide(self, name="cpu", **settings):
        """What was printed while the library was provided and selected."""
        printed = io.StringIO()
        settings.setdefault("pause", 0)
        with contextlib.redirect_stdout(printed):
            try:
                libtorch.provide(self.library(name), self.root, self.pip(), **settings)
                libtorch.select(self.library(name), self.root)
            finally:
                self.printed = printed.getvalue()
        return self.printed

    def calls(self):
        path = self.fake / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def files(self, name="cpu"):
        folder = self.root / name
        return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())

    def assert_complete(self):
        self.assertEqual(
            self.files(),
            [
                "build-version",
                "include/torch/torch.h",
                "lib/libc10.so",
                "lib/libcudart.so.13",
                "lib/libgomp.so.1",
                "lib/libtorch.so",
                "lib/libtorch_cpu.so",
                "wheels",
            ],
        )
        self.assertTrue(libtorch.is_present(self.library(), self.root))

    def test_the_cpu_library_holds_what_a_cpu_build_needs_and_no_more(self):
        self.provide()
        self.assert_complete()
        cpu = self.root / "cpu"
        self.assertEqual((cpu / "lib" / "libtorch.so").read_text(), "INPUT(libtorch_cpu.so)\n")
        self.assertEqual((cpu / "build-version").read_text(), "2.13.0+cpu\n")
        self.assertEqual(os.readlink(str(self.root / "current")), "cpu")
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), ["cpu", "current"])

    def test_the_cuda_library_keeps_the_layout_that_its_rpaths_need(self):
        self.provide("cuda")
        files = self.files("cuda")
        self.assertIn("torch/lib/libtorch_cuda.so", files)
        self.assertIn("torch/include/torch/torch.h", files)
        self.assertIn("nvidia/cu13/lib/libcudart.so.13", files)
        self.assertNotIn("nvidia/cu13/include/cuda.h", files)
        current = self.root / "current"
        self.assertEqual((current / "lib" / "libtorch.so").read_text(), "needs cuda")
        self.assertEqual((current / "build-version").read_text(), "2.13.0+cuda\n")

    def test_one_can_go_back_and_forth_between_cpu_and_cuda(self):
        self.provide("cpu")
        self.provide("cuda")
        self.assertEqual(libtorch.selected(self.root), "cuda")
        self.assert_complete()
        libtorch.select(self.library("cpu"), self.root)
        self.assertEqual(libtorch.selected(self.root), "cpu")

    def test_the_python_half_comes_out_of_the_same_download_and_shares_its_files(self):
        for name, home in (("cpu", "cpu"), ("cuda", "cuda/torch")):
            with self.subTest(name):
                self.setUp()
                self.provide(name, python=self.library("python"))
                self.assertEqual(len(self.calls()), len(FILES))
                self.assertTrue(libtorch.is_present(self.library("python"), self.root))
                self.assertEqual(
                    self.files("python"),
                    [
                        "torch-2.13.0.dist-info/METADATA",
                        "torch/__init__.py",
                        "torch/bin/torch_shm_manager",
                        "torch/lib/libc10.so",
                        "torch/lib/libcudart.so.13",
                        "torch/lib/libgomp.so.1",
                        "torch/lib/libshm/alloc_info.h",
                        "torch/lib/libtorch.so",
                        "torch/lib/libtorch_cpu.so",
                        "torch/lib/libtorch_cuda.so",
                        "torch/lib/libtorch_python.so",
                        "torchgen/__init__.py",
                        "wheels",
                    ],
                )
                ours, theirs = self.root / "python" / "torch" / "lib", self.root / home / "lib"
                self.assertTrue(os.path.samefile(str(ours / "libtorch_cpu.so"), str(theirs / "libtorch_cpu.so")))
                # The CPU library's is a linker script of our own.
                self.assertEqual((ours / "libtorch.so").read_text(), "needs cuda")
                self.assertTrue(os.access(str(ours.parent / "bin" / "torch_shm_manager"), os.X_OK))

    def test_without_a_libtorch_the_python_half_is_provided_alone(self):
        with contextlib.redirect_stdout(io.StringIO()):
            libtorch.provide(self.library("python"), self.root, self.pip(), 0)
        self.assertIn("torch/lib/libtorch_cpu.so", self.files("python"))
        self.assertFalse((self.root / "cpu").exists())
        self.assertIsNone(libtorch.from_the_same_wheels(self.library("cpu"), self.root, self.library("python")))

    def test_what_only_the_tests_need_does_not_keep_libtorch_from_being_provided(self):
        python = self.library("python")
        with unittest.mock.patch.object(libtorch.absent, "provide", side_effect=libtorch.absent.AbsentError("no compiler")):
            self.assertIn("warning: Python's torch could not be set up: no compiler", self.provide(python=python))
        self.assert_complete()
        self.assertFalse(libtorch.is_present(python, self.root))

    def test_another_python_takes_the_python_half_from_its_own_wheel(self):
        python = self.library("python", "cp312")
        self.assertEqual([w["file"].split("-")[2] for w in python.wheels], ["cp312", "py3"])
        self.assertIsNone(libtorch.from_the_same_wheels(self.library("cpu"), self.root, python))
        (self.fake / "index" / self.torch.name).rename(self.fake / "index" / python.wheels[0]["file"])
        with contextlib.redirect_stdout(io.StringIO()):
            libtorch.provide(python, self.root, self.pip(), 0)
        self.assertIn("--python-version 3.12 --abi cp312", self.calls()[0])
        with self.assertRaisesRegex(libtorch.SetupError, "pinned for cp311, cp312, and this Python is cp38: .*PYTHON="):
            self.library("python", "cp38")

    def test_packages_find_torch_by_links_that_are_renewed(self):
        packages, into = self.root / "python", self.fake / "packages"
        (packages / "torch").mkdir(parents=True)
        (packages / "torch" / "__init__.py").write_text("answer = 42")
        into.mkdir()
        (into / "torch").symlink_to("nowhere")
        for _ in range(2):
            libtorch.offer(packages, into)
        code = [sys.executable, "-c", "import torch; print(torch.answer)"]
        answer = subprocess.run(code, env=dict(os.environ, PYTHONPATH=str(into)), stdout=subprocess.PIPE)
        self.assertEqual(answer.stdout, b"42\n")
        (into / "torch").unlink()
        (into / "torch").mkdir()
        with self.assertRaisesRegex(libtorch.SetupError, "packages/torch is in the way"):
            libtorch.offer(packages, into)

    def test_a_library_loads_without_the_cuda_libraries_that_it_was_linked_with(self):
        folder = self.fake / "lib"
        folder.mkdir()

        def compile(source, name, *more):
            done = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / name), "-Wl,-soname," + name, *more]
            subprocess.run(done, input=source.encode(), check=True)

        compile("int cublasCreate(void) { return 7; }", "libcublas.so.13")
        compile("int ncclSend(void) { return 7; }", "libnccl.so.2")
        source = "int cublasCreate(void); int ncclSend(void); int puts(const char *);"
        source += "int here(void) { return puts(\"\") < 0; } int there(void) { return cublasCreate() + ncclSend(); }"
        compile(source, "libtorch_cuda.so", "-L" + str(folder), "-l:libcublas.so.13", "-l:libnccl.so.2", "-Wl,-rpath,$ORIGIN")
        (folder / "libcublas.so.13").unlink()
        load = "import ctypes, os, sys; ours = ctypes.CDLL(sys.argv[1], os.RTLD_NOW); print(ours.here(), flush=True); "
        load = [sys.executable, "-c", load + "ours.there()", str(folder / "libtorch_cuda.so")]
        self.assertNotEqual(subprocess.run(load, stderr=subprocess.DEVNULL).returncode, 0)
        self.assertEqual(libtorch.absent.provide(folder, ["cc"]), ["libcublas.so.13"])
        called = subprocess.run(load, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(called.stdout.split(), [b"0"])
        self.assertIn(b"cublasCreate was called, but there is no CUDA", called.stderr)
        self.assertEqual(libtorch.absent.provide(folder, ["cc"]), [])

    def test_a_missing_compiler_is_named(self):
        with self.assertRaisesRegex(libtorch.absent.AbsentError, "`/nonexistent/cc` is needed"):
            libtorch.absent.run(["/nonexistent/cc"])

    def test_a_truncated_a_wrong_a_missing_and_a_broken_download_are_each_tried_again(self):
        problems = {
            "truncates": "the download is truncated",
            "lies": "the sha256 is wrong",
            "forgets": "pip left 0 wheels",
            "fails": "pip failed, or the connection did",
            "dies": "pip failed, or the connection did",
        }
        for act, problem in problems.items():
            with self.subTest(act):
                self.setUp()
                self.plan(act)
                self.assertIn(problem, self.provide())
                self.assertIn("attempt 2 of 4 follows", self.printed)
                self.assert_complete()
                self.assertEqual(len(self.calls()), len(FILES) + 1)

    def test_after_the_last_attempt_the_error_says_what_to_do(self):
        self.plan("truncates lies dies fails")
        with self.assertRaises(libtorch.SetupError) as caught:
            self.provide()
        for words in ("torch-2.13.0", "4 attempts", "run the same command again", "LIBTORCH_USE_PYTORCH"):
            self.assertIn(words, str(caught.exception))
        self.assertFalse((self.root / "cpu").exists())
        self.assertFalse((self.root / "current").exists())

    def test_a_wheel_that_arrived_is_kept_for_the_next_run(self):
        self.plan("works fails fails fails fails")
        with self.assertRaises(libtorch.SetupError):
            self.provide()
        self.assertTrue(self.torch.exists())
        self.assertIn("here from an earlier attempt, and intact", self.provide())
        self.assert_complete()
        self.assertEqual(len([c for c in self.calls() if "manylinux_2_28" in c]), 1)

    def test_a_damaged_wheel_of_an_earlier_run_is_fetched_again(self):
        self.torch.parent.mkdir(parents=True)
        self.torch.write_bytes(b"half a wheel")
        self.assertIn("is damaged: fetching it again", self.provide())
        self.assert_complete()

    def test_leftovers_of_a_killed_run_are_cleared(self):
        for leftover in ("unpacking-cpu/lib/libold.so", "download/partial/half.whl", "cpu/lib/libhalf.so"):
            path = self.root / leftover
            path.parent.mkdir(parents=True)
            path.write_text("leftover")
        self.provide()
        self.assert_complete()
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), ["cpu", "current"])

    def test_a_folder_made_of_other_wheels_is_not_taken_for_the_pinned_one(self):
        self.provide()
        (self.root / "cpu" / "wheels").write_text("0" * 64 + "  torch-2.12.0.whl\n")
        self.assertFalse(libtorch.is_present(self.library(), self.root))
        self.provide()
        self.assert_complete()

    def test_pip_is_asked_for_the_pinned_file_whatever_python_runs_it(self):
        self.provide()
        first, second = self.calls()
        for words in ("--no-deps", "--python-version 3.11", "--abi cp311", "--platform manylinux_2_28_x86_64"):
            self.assertIn(words, first)
        self.assertIn("--platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64", second)
        self.assertNotIn("resume-retries", first)

    def test_a_pip_that_can_resume_is_told_to(self):
        (self.fake / "version").write_text("pip 25.1 from here (python 3.12)")
        self.provide()
        self.assertIn("--resume-retries", self.calls()[0])

    def test_a_missing_or_ancient_pip_is_an_error_that_says_how_to_get_one(self):
        for command in (["/nonexistent/pip"], [sys.executable, "-c", "raise SystemExit(1)"]):
            with self.assertRaisesRegex(libtorch.SetupError, "apt install python3-pip(.|\n)*LIBTORCH"):
                libtorch.Pip(command, os.environ)
        (self.fake / "version").write_text("pip 9.0 from here (python 3.8)")
        with self.assertRaisesRegex(libtorch.SetupError, "20.3 or newer"):
            self.pip()

    def test_too_small_a_disk_is_an_error_before_anything_is_downloaded(self):
        with self.assertRaisesRegex(libtorch.SetupError, "needs 100 MB of disk .* has 50 MB free"):
            self.provide(free=50_000_000)
        self.assertEqual(self.calls(), [])

    def test_an_unsupported_platform_is_told_about_its_own_libtorch(self):
        with self.assertRaisesRegex(libtorch.SetupError, "riscv64(.|\n)*set LIBTORCH"):
            libtorch.library("cpu", "riscv64", self.pins)
        with self.assertRaisesRegex(libtorch.SetupError, "Linux only, this is Darwin(.|\n)*set LIBTORCH"):
            libtorch.check_platform("Darwin")
        for libc in (("glibc", "2.27"), ("", ""), ("musl", "1.2.4")):
            with self.assertRaisesRegex(libtorch.SetupError, "glibc 2.28 or newer"):
                libtorch.check_platform("Linux", libc)
        libtorch.check_platform("Linux", ("glibc", "2.36"))

    def test_every_pin_is_whole(self):
        for machine, libraries in json.loads((SCRIPT.parent / "wheels.json").read_text()).items():
            for name in libraries:
                wheels = libtorch.library(name, machine, python="cp311").wheels
                self.assertEqual(wheels[0]["requirement"], "torch==" + libtorch.TORCH)
                for wheel in wheels:
                    package, version = wheel["file"].split("-")[:2]
                    self.assertEqual(wheel["requirement"], package.replace("_", "-") + "==" + version)
                    self.assertRegex(wheel["sha256"], "^[0-9a-f]{64}$")
                    self.assertTrue(wheel["file"].endswith(machine + ".whl"))

    # The script as the Makefile calls it. Its pip is one that must not be called.

    def script(self, command, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LIBTORCH") and k != "VIRTUAL_ENV"}
        clean.update(PIP="/nonexistent/pip", **env)
        words = [sys.executable, str(SCRIPT), command, "--root", str(self.root)]
        done = subprocess.run(words, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode()

    def own(self, version):
        folder = self.fake / "own"
        (folder / "lib").mkdir(parents=True, exist_ok=True)
        (folder / "lib" / "libtorch_cpu.so").write_text("")
        header = folder / "include" / "torch" / "headeronly" / "version.h"
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text('#define TORCH_VERSION "%s"\n' % version)
        return str(folder)

    def test_a_libtorch_of_the_users_own_is_used_and_nothing_is_provided(self):
        for command in ("ensure", "cpu", "cuda", "status"):
            code, printed = self.script(command, LIBTORCH=self.own("2.13.0"))
            self.assertEqual(code, 0, printed)
            self.assertIn("nothing to provide", printed)
            self.assertNotIn("WARNING", printed)
            self.assertFalse(self.root.exists())

    def test_another_version_of_the_users_own_is_warned_of(self):
        code, printed = self.script("ensure", LIBTORCH=self.own("2.9.1"))
        self.assertEqual(code, 0)
        self.assertIn("WARNING: that is libtorch 2.9.1; this harness is made for 2.13.0", printed)

    def test_a_wrong_path_in_libtorch_is_an_error(self):
        code, printed = self.script("ensure", LIBTORCH="/nonexistent/libtorch")
        self.assertEqual(code, 1)
        self.assertIn("correct LIBTORCH, or unset it", printed)

    def test_a_python_environment_with_torch_is_used_and_nothing_is_provided(self):
        python = self.fake / "bin" / "python3"
        python.parent.mkdir()
        path = "%s:%s" % (python.parent, os.environ["PATH"])
        for answer, code, words in (("2.13.0+cu130", 0, "nothing to provide"), ("2.6.0", 0, "WARNING"), ("", 1, "has no torch")):
            python.write_text("#!/bin/sh\necho %s\n" % answer)
            python.chmod(0o755)
            got, printed = self.script("ensure", LIBTORCH_USE_PYTORCH="1", PATH=path)
            self.assertEqual(got, code, printed)
            self.assertIn(words, printed)
        self.assertFalse(self.root.exists())

    def test_the_checkouts_own_setting_handed_down_by_cargo_is_not_the_users(self):
        code, printed = self.script("ensure", LIBTORCH=str(self.root / "current"))
        self.assertEqual(code, 1)
        self.assertIn("pip is needed", printed)

    def test_two_setups_in_one_checkout_take_turns(self):
        self.root.mkdir(parents=True)
        order = []
        with open(str(self.root / "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

            def second():
                with contextlib.redirect_stdout(io.StringIO()), libtorch.alone(self.root):
                    order.append("second")

            thread = threading.Thread(target=second)
            thread.start()
            time.sleep(0.1)
            order.append("first")
            fcntl.flock(lock, fcntl.LOCK_UN)
        thread.join()
        self.assertEqual(order, ["first", "second"])


if __name__ == "__main__":
    unittest.main()
