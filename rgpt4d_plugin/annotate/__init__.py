# SPDX-License-Identifier: Apache-2.0
"""The page of `rgpt4d annotate`: marks regions on videos, and verifies them."""
