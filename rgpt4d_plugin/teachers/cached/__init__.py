# SPDX-License-Identifier: Apache-2.0
"""A teacher's features and maps on disk, computed once and read by every later run.

A cache is a folder: `cache.json` says which teacher made it and how exactly numbers are kept, `shards/` holds
safetensors files of a few clips each.
"""
