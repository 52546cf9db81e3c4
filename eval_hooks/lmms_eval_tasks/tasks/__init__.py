# SPDX-License-Identifier: Apache-2.0
"""The folder for `--include_path`."""
