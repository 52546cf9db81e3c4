# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a recipe does: contact sheets of its samples, the maps that a student predicts, the demo."""
