# SPDX-License-Identifier: Apache-2.0
"""Trainers: one mixin, and what a host needs around it."""
