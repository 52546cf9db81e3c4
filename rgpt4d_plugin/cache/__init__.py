# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d cache-teacher`: a teacher's results for all clips of a recipe, computed once."""
