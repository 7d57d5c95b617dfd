"""Compiles the kernels while the package is installed; everything else is in pyproject.toml."""

import runpy
import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = runpy.run_path(str(Path(__file__).parent / "cuda_kernels" / "build.py"))


class BuildKernels(build_ext):
    """A plain shared library for ctypes: no Python headers, and no suffix of one Python version."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            KERNELS["build"](target)
        except KERNELS["BuildError"] as error:
            raise SystemExit(f"error: {error}") from None

    def copy_extensions_to_source(self) -> None:
        """Editable installs look for the library beside the sources."""
        for ext in self.extensions:
            built = Path(self.build_lib) / self.get_ext_filename(ext.name)
            if built.exists():
                shutil.copy2(built, KERNELS["LIBRARY"])


setup(
    ext_modules=[Extension("cuda_kernels.libvisavis_kernels", sources=[])],
    cmdclass={"build_ext": BuildKernels},
)
