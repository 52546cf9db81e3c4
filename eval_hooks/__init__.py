# SPDX-License-Identifier: Apache-2.0
"""Evaluation: seven 4D and spatial benchmarks, two readings of every answer, reports, and hooks into the host."""
