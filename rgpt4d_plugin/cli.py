# SPDX-License-Identifier: Apache-2.0
"""The `rgpt4d` command."""


def main() -> int:
    return 0
