"""Put the configs of the top folder into the package that is built; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copy configs/ to yolofuse/configs, where ``yolofuse init`` finds them without a checkout."""

    def run(self) -> None:
        """Build the package, then add the configs; an editable install reads them in the checkout."""
        super().run()
        if not self.editable_mode:
            shutil.copytree("configs", Path(self.build_lib, "yolofuse", "configs"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfigs})
