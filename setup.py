# SPDX-License-Identifier: Apache-2.0
"""Makes `pip install -e .` ship the activation file too; everything else is in setup.cfg."""

from setuptools import Distribution, setup


class DistributionWithData(Distribution):
    """A distribution that says it has data files."""

    def has_data(self) -> bool:
        # setuptools' editable_wheel command asks for this name, and without it skips data_files without a word:
        # the editable install would lack rgpt4d_plugin.pth and never activate.
        return bool(self.data_files)


setup(distclass=DistributionWithData)
