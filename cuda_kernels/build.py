"""Compiles the kernels for the CPU: `python -m cuda_kernels.build`, or as a part of `pip install`.

Needs nothing but g++ (or what CXX names). The library is made for the instruction set of this
machine; VISAVIS_MARCH=x86-64-v3, for instance, makes one for every machine with AVX2.
"""

import hashlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SOURCE_FOLDER = Path(__file__).parent / "src"
LIBRARY = Path(__file__).parent / "libvisavis_kernels.so"
COMMAND = f"{Path(sys.executable).name} -m cuda_kernels.build"

# No -ffast-math: it swaps Gaussians of nearly equal depth. These two only give up errno and traps.
FLAGS = (
    "-std=c++17 -O3 -mprefer-vector-width=512 -fno-math-errno -fno-trapping-math -fopenmp-simd"
    " -fPIC -shared -pthread -Wall -Wextra -Wno-psabi"
).split()

# What the compiler may use, by the names of /proc/cpuinfo without their underscores.
INSTRUCTION_SETS = (
    "ssse3 sse41 sse42 popcnt avx avx2 f16c fma bmi1 bmi2 movbe adx gfni vaes vpclmulqdq avxvnni"
    " avx512f avx512cd avx512bw avx512dq avx512vl avx512ifma avx512vbmi avx512vbmi2 avx512vnni"
    " avx512bitalg avx512vpopcntdq avx512bf16 avx512fp16"
).split()


class BuildError(Exception):
    """The kernels cannot be compiled; the message is one line and says what to do."""


def sources() -> list[Path]:
    """Every file that goes into the library, in a fixed order."""
    return sorted(p for p in SOURCE_FOLDER.iterdir() if p.suffix in (".h", ".cpp"))


def fingerprint() -> str:
    """Changes when the sources or the flags do; the library carries that of its own sources."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _instruction_sets(compiler: list[str], march: str) -> list[str]:
    command = [*compiler, f"-march={march}", "-dM", "-E", "-x", "c++", os.devnull]
    macros = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = {m.lower().replace("_", "") for m in re.findall(r"#define __(\w+)__ 1\b", macros)}
    names |= {"bmi1"} if "bmi" in names else set()
    return [name for name in INSTRUCTION_SETS if name in names]


def build(library: Path = LIBRARY, march: str | None = None, extra: Sequence[str] = ()) -> Path:
    """Compile the library.

    Args:
        library: where to write it.
        march: instruction set, a value of g++'s -march; default $VISAVIS_MARCH, then "native".
        extra: further options of the compiler; the tests build small libraries with them.
    Raises:
        BuildError: there is no compiler, or it refuses.
    """
    march = march or os.environ.get("VISAVIS_MARCH") or "native"
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    units = [str(p) for p in sources() if p.suffix == ".cpp"]
    # Written beside and moved into place: a process that has the old library loaded keeps it whole.
    unfinished = library.with_suffix(f".{os.getpid()}.so")
    try:
        needs = " ".join(_instruction_sets(compiler, march))
        defines = [f'-DVISAVIS_FINGERPRINT="{fingerprint()}"', f'-DVISAVIS_NEEDS="{needs}"']
        subprocess.run(
            [*compiler, f"-march={march}", *FLAGS, *defines, *extra, *units, "-o", str(unfinished)],
            check=True,
        )
        unfinished.replace(library)
    except FileNotFoundError:
        raise BuildError(
            f"The kernels need a C++ compiler and {compiler[0]} is not there: apt-get install g++"
        ) from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()[-1:]
        raise BuildError(
            f"{compiler[0]} -march={march} could not compile the kernels {' '.join(said)}".strip()
            + "; choose another instruction set with VISAVIS_MARCH, or another compiler with CXX."
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return library


if __name__ == "__main__":
    try:
        print(build())
    except BuildError as error:
        sys.exit(str(error))
