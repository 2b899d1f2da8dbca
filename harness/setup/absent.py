"""Stand-ins for the CUDA libraries that PyTorch's wheel asks for and a CPU never calls.

The wheel's libraries are linked against two gigabytes of cuBLAS, cuDNN, NCCL and so on. The loader
insists on their files and on every function in them, so one small library defines each of those
functions, and stands under each of those names. A call of one says so and ends the process.
"""

import re
import subprocess
from pathlib import Path

NAME = "libabsent.so"
CUDA_LIBRARY = re.compile(r"lib(cu|nccl|nv)[^/]*\.so")
# The names of C++ begin with an underscore, those of the system have a version.
FUNCTION = re.compile(r"[a-z]\w*$")
SYSTEM = re.compile(r"@(GLIBC|CXXABI|GCC|G?OMP)")
SOURCE = """#include <stdio.h>
#include <stdlib.h>
static void absent(const char *name) {
    fprintf(stderr, "%s was called, but there is no CUDA beside this PyTorch\\n", name);
    abort();
}
"""


class AbsentError(Exception):
    """What is needed to make the stand-ins."""


def provide(folder, compiler):
    """Make the stand-ins in `folder`, which holds libraries; the names of those that were missing."""
    libraries = sorted(p for p in folder.iterdir() if p.is_file() and ".so" in p.name and is_elf(p))
    needed = {library for line in ask(["readelf", "--dynamic"], libraries) for library in found(line)}
    missing = sorted(n for n in needed if CUDA_LIBRARY.match(n) and not (folder / n).exists())
    if not missing:
        return missing
    defined = {symbol(line) for line in ask(["nm", "--dynamic", "--defined-only"], libraries)}
    undefined = {
        symbol(line)
        for line in ask(["nm", "--dynamic", "--undefined-only"], libraries)
        if not SYSTEM.search(line)
    }
    functions = sorted(name for name in undefined - defined if FUNCTION.match(name))
    text = SOURCE + "".join('void %s(void) { absent("%s"); }\n' % (name, name) for name in functions)
    run(compiler + ["-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(folder / NAME)], text)
    for name in missing:
        (folder / name).symlink_to(NAME)
    return missing


def is_elf(path):
    with open(str(path), "rb") as file:
        return file.read(4) == b"\x7fELF"


def found(line):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", line)


def symbol(line):
    """The name in a line of nm, `ADDRESS TYPE NAME@VERSION`; empty for a weak one, which may be missing."""
    words = line.split()
    return words[-1].split("@")[0] if len(words) > 1 and words[-2] not in "wv" else ""


def ask(command, files):
    return run(command + [str(file) for file in files]).splitlines() if files else []


def run(command, text=None):
    try:
        done = subprocess.run(
            command, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
        )
    except OSError:
        raise AbsentError("`%s` is needed, from a C compiler and binutils" % command[0])
    if done.returncode != 0:
        raise AbsentError("`%s` failed: %s" % (" ".join(command[:3]), (done.stderr.strip().splitlines() or ["no reason told"])[0]))
    return done.stdout
