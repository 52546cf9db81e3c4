# SPDX-License-Identifier: Apache-2.0
"""Pages that people look at: one run, or several side by side."""
