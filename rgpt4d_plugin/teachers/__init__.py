# SPDX-License-Identifier: Apache-2.0
"""Frozen experts whose features and maps supervise the video LLM, one folder per expert."""
